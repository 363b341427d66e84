"""Read by pyinfra before every run that is started in this directory: what must be refused is refused, secrets are
hidden, and the plan is the platform's."""

import prometheus_ha

prometheus_ha.configure()
