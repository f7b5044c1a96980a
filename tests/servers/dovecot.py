"""A real Dovecot 2.3 on free loopback ports, with throw-away state: ``with Dovecot(directory) as server``.

As root it drops to the system user ``dovecot``, so its directory must be reachable for that user (mode 755 all the
way). ``down`` and ``up`` are a restart that keeps mail and ports; ``kill`` is a crash.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.ports import free_ports
from tests.servers.tls import TlsFiles, make_ca

BINARY = "/usr/sbin/dovecot"
PACKAGES = ("dovecot-core", "dovecot-imapd", "dovecot-lmtpd")
_PROTOCOLS = ("/usr/lib/dovecot/imap", "/usr/lib/dovecot/lmtp")
_EX_NOBODY = 68
"""What doveadm says where nobody is signed in."""
_NUMBERS = itertools.count(1)

_CONFIG = """
base_dir = {state}/run
state_dir = {state}/lib
instance_name = postroom-test
log_path = {state}/dovecot.log
listen = 127.0.0.1
protocols = imap lmtp
default_login_user = {user}
default_internal_user = {user}
default_internal_group = {group}
first_valid_uid = 1
first_valid_gid = 1
mail_uid = {uid}
mail_gid = {gid}
mail_home = {state}/mail/%Lu
mail_location = maildir:~/Maildir
mail_max_userip_connections = 0
mail_fsync = {fsync}
default_vsz_limit = 0
auth_mechanisms = plain login
auth_username_format = %Lu
auth_failure_delay = 0
disable_plaintext_auth = yes
login_trusted_networks =
ssl = yes
ssl_cert = <{tls.cert}
ssl_key = <{tls.key}
ssl_min_protocol = TLSv1.2
ssl_dh =
imap_idle_notify_interval = 2 mins
hostname = mail.example.test
postmaster_address = postmaster@example.test
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%Lu {state}/users/%Lu
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={state}/mail/%Lu allow_all_users=yes
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Junk {{
    auto = subscribe
    special_use = \\Junk
  }}
  mailbox Sent {{
    auto = subscribe
    special_use = \\Sent
  }}
}}
service anvil {{
  chroot =
  # no growing delay after failed sign-ins from one address
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  # for Postfix: smtpd_sasl_path
  unix_listener auth-client {{
    mode = 0666
  }}
}}
service imap-login {{
  chroot =
  service_count = 0
  process_min_avail = 1
  process_limit = 2
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service imap {{
  service_count = 100
  client_limit = 1
  unix_listener imap-master {{
    user = {user}
  }}
}}
service lmtp {{
  chroot =
  process_limit = 10
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
service stats {{
  chroot =
}}
service doveadm {{
  chroot =
}}
"""


def missing() -> str | None:
    """What to install, or None when all is there."""
    if all(Path(path).exists() for path in (BINARY, *_PROTOCOLS)):
        return None
    return f"Dovecot is missing: apt-get install --no-install-recommends {' '.join(PACKAGES)}"


def _name_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


class Dovecot:
    """One Dovecot; every mailbox has a password, INBOX, and Junk and Sent with their attributes."""

    host = "127.0.0.1"

    def __init__(
        self, directory: Path | str | None = None, *, tls: TlsFiles | None = None, fsync: bool = False
    ) -> None:
        self._own_directory = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="postroom-dovecot-"))
        self.directory.chmod(0o755)
        self.tls = tls or make_ca(self.directory / "tls")
        self.imap_port, self.imaps_port, self.lmtp_port = free_ports(3)
        account = pwd.getpwnam("dovecot") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self._uid, self._gid, self._user = account.pw_uid, account.pw_gid, account.pw_name
        self._fsync = "optimized" if fsync else "never"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def auth_client_path(self) -> Path:
        """The socket at which Postfix asks for passwords (smtpd_sasl_path)."""
        return self.directory / "run" / "auth-client"

    # Life

    def start(self) -> None:
        """Write the configuration and come up."""
        for name in ("run", "lib", "mail", "users"):
            (self.directory / name).mkdir(exist_ok=True)
        (self.directory / "dovecot.conf").write_text(self._config())
        self._own(self.directory)
        self.up()

    def up(self) -> None:
        """Run, on the same ports with the same mail."""
        command = [BINARY, "-F", "-c", str(self.directory / "dovecot.conf")]
        with (self.directory / "out").open("wb") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, **self._identity()
            )
        for port in (self.imap_port, self.imaps_port, self.lmtp_port):
            self._await_port(port)

    def down(self) -> None:
        """Stop in good order: sessions first, so that their BYE still passes the processes that speak TLS for them."""
        sessions = self._sessions()
        for pid in sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for _ in range(40):
            if not set(sessions) & set(self._sessions()):
                break
            time.sleep(0.025)
        self._end(signal.SIGTERM)

    def _sessions(self) -> list[int]:
        """The processes of ours that serve a signed-in client each."""
        if self._process is None:
            return []
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [int(pid) for pid in children if _name_of(pid) == "imap"]

    def kill(self) -> None:
        """Die with all children, at once."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop and forget everything."""
        self.down()
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            os.killpg(process.pid, how)
            process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        finally:
            self._sweep(process)

    def _sweep(self, process: subprocess.Popen[bytes]) -> None:
        """Children share the group of the master, which is all ours; they may say goodbye first."""
        for _ in range(80):
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.025)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def _await_port(self, port: int) -> None:
        for _ in range(400):
            assert self._process is not None and self._process.poll() is None, self._words()
            try:
                socket.create_connection((self.host, port), 1).close()
                return
            except OSError:
                time.sleep(0.025)
        raise AssertionError(f"Dovecot does not listen on {port}: {self._words()}")

    def _words(self) -> str:
        log = self.directory / "dovecot.log"
        return (self.directory / "out").read_text() + (log.read_text()[-2000:] if log.exists() else "")

    def _config(self) -> str:
        return _CONFIG.format(
            state=self.directory,
            user=self._user,
            group=self._gid if os.geteuid() else "dovecot",
            uid=self._uid,
            gid=self._gid,
            fsync=self._fsync,
            tls=self.tls,
            imap=self.imap_port,
            imaps=self.imaps_port,
            lmtp=self.lmtp_port,
        )

    def _identity(self) -> dict[str, Any]:
        return {"user": self._uid, "group": self._gid, "extra_groups": []} if os.geteuid() == 0 else {}

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            for each in (path, *path.rglob("*")):
                os.chown(each, self._uid, self._gid)

    # Mailboxes and mail

    def doveadm(self, *arguments: str, data: bytes | None = None, fine: tuple[int, ...] = (0,)) -> str:
        """Run doveadm; its output."""
        command = ["/usr/bin/doveadm", "-c", str(self.directory / "dovecot.conf"), *arguments]
        ran = subprocess.run(
            command, input=data, capture_output=True, timeout=30, env={"HOME": str(self.directory)}, **self._identity()
        )
        assert ran.returncode in fine, (arguments, ran.stderr)
        return bytes(ran.stdout).decode()

    def add_user(self, user: str, password: str) -> None:
        """A mailbox; one that is there gets this password."""
        path = self.directory / "users" / user.lower()
        known = path.exists()
        fresh = self.directory / f"{user.lower()}.new"
        fresh.write_text(f"{user.lower()}:{{PLAIN}}{password}::::::\n")
        self._own(fresh)
        stamp = int(time.time()) + next(_NUMBERS)  # Dovecot tells versions apart by size and whole seconds
        os.utime(fresh, (stamp, stamp))
        fresh.replace(path)
        if known:
            self._await_password(user, password)

    def _await_password(self, user: str, password: str) -> None:
        """Dovecot looks at a password file that it has read once a second at the most."""
        command = ["/usr/bin/doveadm", "-c", str(self.directory / "dovecot.conf"), "auth", "test", user, password]
        for _ in range(50):
            ran = subprocess.run(
                command, capture_output=True, timeout=30, check=False, env={"HOME": str(self.directory)},
                **self._identity(),
            )  # fmt: skip
            if ran.returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError(f"Dovecot does not take the password of {user}: {ran.stderr!r}")

    def kick(self, user: str) -> None:
        """Throw all connections of a user out, if there are any."""
        self.doveadm("kick", user, fine=(0, _EX_NOBODY))

    def deliver(self, user: str, content: bytes, sender: str = "") -> None:
        """One mail into the INBOX, by LMTP, as a mail server would; ``sender`` becomes its Return-Path."""
        with smtplib.LMTP(self.host, self.lmtp_port) as lmtp:
            lmtp.sendmail(sender, [user], content)

    def save_many(
        self, user: str, contents: Iterable[bytes], folder: str = "INBOX", internaldate: float | None = None
    ) -> None:
        """Many mails at once, as files in the Maildir."""
        maildir = self._maildir(user, folder)
        for place in ("tmp", "new", "cur"):
            (maildir / place).mkdir(parents=True, exist_ok=True)
        now = int(time.time())
        for content in contents:
            path = maildir / "new" / f"{now}.M{next(_NUMBERS):09}P{os.getpid()}.test,S={len(content)}"
            path.write_bytes(content)
            if internaldate is not None:
                os.utime(path, (internaldate, internaldate))
            if os.geteuid() == 0:
                os.chown(path, self._uid, self._gid)
        if os.geteuid() == 0:
            home = self.directory / "mail"
            for each in (maildir, *maildir.glob("*"), *itertools.takewhile(home.__ne__, maildir.parents)):
                with contextlib.suppress(FileNotFoundError):  # a lock of Dovecot's, gone already
                    os.chown(each, self._uid, self._gid)

    def _maildir(self, user: str, folder: str) -> Path:
        top = self.directory / "mail" / user.lower() / "Maildir"
        return top if folder == "INBOX" else top / f".{folder.replace('/', '.')}"

    # The words of the embedded provider, so that one suite runs against both

    def open_mailbox(self, address: str, password: str, *, folders: Iterable[str] = ()) -> None:
        """A new mailbox, with further folders."""
        self.add_user(address, password)
        for folder in folders:
            self.doveadm("mailbox", "create", "-u", address, folder)

    def save(self, address: str, content: bytes, folder: str = "INBOX") -> None:
        """One mail into a folder."""
        self.doveadm("save", "-u", address, "-m", folder, data=content)

    def expunge(self, address: str, uids: Iterable[int], folder: str = "INBOX") -> None:
        """Somebody else deletes mails for good."""
        self.doveadm("expunge", "-u", address, "mailbox", folder, "uid", ",".join(map(str, uids)))

    def contents(self, address: str, folder: str = "INBOX") -> dict[int, bytes]:
        """What a folder holds, by UID."""
        uids = self.doveadm("-f", "flow", "fetch", "-u", address, "uid", "mailbox", folder).replace("uid=", "").split()
        read = ("fetch", "-u", address, "text", "mailbox", folder, "uid")
        return {int(uid): self.doveadm("-f", "pager", *read, uid).removeprefix("text: ").encode() for uid in uids}

    def flags(self, address: str, folder: str = "INBOX") -> dict[int, str]:
        """The flags of each mail."""
        out = self.doveadm("-f", "tab", "fetch", "-u", address, "uid flags", "mailbox", folder)
        rows = [line.split("\t") for line in out.splitlines()[1:]]
        return {int(uid): flags for uid, flags in rows}

    def renumber(self, address: str, folder: str = "INBOX") -> int:
        """Give a folder a new UIDVALIDITY; the new value."""
        value = int(time.time()) + next(_NUMBERS)
        self.doveadm("mailbox", "update", "-u", address, "--uid-validity", str(value), folder)
        return value
