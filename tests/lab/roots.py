"""Root trees of the lab's hosts: made once by mmdebstrap, cached, shared by all clones."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from tests.lab import plan
from tests.lab.proc import locked, run_visibly, say

PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "sudo",
    "ca-certificates",
    "curl",
    "iproute2",
    "iputils-ping",
    "netbase",
    "procps",
    "logrotate",
    "rsyslog",
    "chrony",
    "nftables",
    "python3",
)

# What no host of the lab needs: it would slow the boot, or work behind a test's back.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "console-getty.service",
    "dev-hugepages.mount",
    "sys-fs-fuse-connections.mount",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-networkd-wait-online.service",
)

# Since 9.8 sshd shuts an address out that came and went too often; here all tests share one.
SSHD = {"trixie": "PerSourcePenalties no"}

CUSTOMIZE = """\
set -eu
cd "$1"
chroot . useradd --create-home --shell /bin/bash --password '*' ops
chroot . usermod --password '*' root
echo 'ops ALL=(ALL) NOPASSWD: ALL' > etc/sudoers.d/ops
chmod 440 etc/sudoers.d/ops
# Each host brings its own identity.
rm -f etc/ssh/ssh_host_* etc/hostname var/lib/dbus/machine-id
: > etc/machine-id
# There is no way out: a name is in /etc/hosts, or unknown at once.
: > etc/resolv.conf
sed -i 's/^hosts:.*/hosts: files/' etc/nsswitch.conf
# A login prints nothing.
rm -rf etc/motd etc/update-motd.d
sed -i -E '/pam_(motd|mail)\\.so/d' etc/pam.d/sshd
cat > etc/ssh/sshd_config.d/lab.conf <<END
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
PrintMotd no
PrintLastLog no
UseDNS no
MaxStartups 200
MaxSessions 200
@SSHD@
END
mkdir -p etc/systemd/journald.conf.d
printf '[Journal]\\nStorage=persistent\\nSystemMaxUse=64M\\nReadKMsg=no\\n' \\
    > etc/systemd/journald.conf.d/lab.conf
sed -i '/imklog/d' etc/rsyslog.conf
# fs.*, kernel.* and vm.* are the machine's: a host that boots must not set them.
rm -f usr/lib/sysctl.d/*.conf
chroot . systemctl --quiet set-default multi-user.target
chroot . systemctl --quiet mask @MASKED@
"""


def _customize(suite: str) -> str:
    script = CUSTOMIZE.replace("@MASKED@", " ".join(MASKED))
    return script.replace("@SSHD@", SSHD.get(suite, ""))


def _command(suite: str, packages: tuple[str, ...], hook: Path, target: Path) -> list[str]:
    return [
        *("unshare", "--mount", "mmdebstrap"),  # it mounts /proc and more in the tree
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join((*PACKAGES, *packages))}",
        *(f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in ("man", "doc", "locale")),
        f'--customize-hook=sh {hook} "$1"',
        suite,
        str(target),
    ]


def tree(suite: str, packages: tuple[str, ...] = ()) -> Path:
    """Where the tree of a Debian release, with `packages` more, is cached; its name changes with the recipe."""
    command = _command(suite, packages, Path("hook"), Path("tree"))
    recipe = "\n".join([*command, _customize(suite)])
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    return plan.cache_dir() / "trees" / f"{suite}-{digest}"


def ensure(suite: str, packages: tuple[str, ...] = ()) -> Path:
    """The tree of a Debian release, with `packages` more, made if the cache lacks it."""
    target = tree(suite, packages)
    if target.is_dir():
        return target
    name = f"root tree {' + '.join((suite, *packages))}"
    with locked(target.with_suffix(".lock"), f"{name}: another lab is making it") as lock:
        if target.is_dir():
            return target
        say(f"{name}: making it (half a minute)")
        unfinished = target.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        hook = target.with_suffix(".sh")
        hook.write_text(_customize(suite))
        run_visibly(
            name,
            _command(suite, packages, hook, unfinished),
            target.with_suffix(".log"),
            # The caller's locale is not in the tree, and perl would complain of it again and again.
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            # If we are killed, nobody is to begin before it has ended.
            pass_fds=[lock],
        )
        unfinished.rename(target)
        say(f"{name}: made")
    return target
