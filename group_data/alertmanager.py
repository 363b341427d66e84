"""Settings of the Alertmanager cluster. The members must agree, so give none of them its own."""

# Where the default receiver `web.hook` posts notifications. The lab has a sink that records them.
# A change reloads.
alertmanager_webhook_url = "secret:file:secrets/webhook_url"

# A dead man's switch outside the site, which is sent the Watchdog once a minute and raises the alarm
# when it no longer comes: nothing of the platform can tell that the platform is dead. Without it the
# Watchdog goes nowhere. The lab's is the same sink. A change reloads.
deadman_url = "secret:file:secrets/deadman_url"

# Your own routes and receivers, in upstream's keys, over the default ones. They are checked by
# amtool before they go live, and a change reloads.
#
#   alertmanager_config = {
#       "route": {"receiver": "team", "group_by": ["alertname", "cluster"]},
#       "receivers": [
#           {
#               "name": "team",
#               "slack_configs": [{"api_url": "secret:env:SLACK_URL", "channel": "#alerts"}],
#           }
#       ],
#   }
#   alertmanager_templates = {"team.tmpl": '{{ define "team.title" }}...{{ end }}'}
#
# Files that it names in api_url_file, password_file, ca_file, ... are /etc/alertmanager/secrets/NAME.
#
#   alertmanager_secret_files = {"ca.crt": "secret:file:secrets/ca.crt"}
