"""A real Postfix on loopback, with a queue and configuration of its own; the system's Postfix is not touched.

``Postfix(directory)`` is a context manager. It answers on three ports: ``smtp`` (takes mail from loopback without
signing in), ``submission`` (STARTTLS and SASL) and ``smtps`` (TLS and SASL); signing in needs a Dovecot whose
``auth_client_path`` is given. What it takes goes on to a ``FarEnd``, which keeps envelope and bytes, or to where
``deliver`` says. Recipients in ``REFUSALS`` are refused at RCPT. Needs root, because Postfix does.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from aiosmtpd.smtp import SMTP

from tests.servers.ports import free_ports
from tests.servers.tls import TlsFiles, make_ca

REFUSALS = {
    "full@refuse.test": "452 4.2.2 Mailbox full",
    "later@refuse.test": "451 4.7.1 Try again later",
    "gone@refuse.test": "550 5.1.1 No such user",
    "policy@refuse.test": "554 5.7.1 Rejected by policy",
}
"""Recipient -> what Postfix answers to RCPT."""

POSTFIX = "/usr/sbin/postfix"


def missing() -> str | None:
    """What this machine lacks to run it, with the line that brings it; None if nothing."""
    if not os.path.exists(POSTFIX):
        return "Postfix is missing: apt-get install --no-install-recommends postfix"
    if os.geteuid() != 0:
        return "Postfix is here, but starting it needs root"
    return None


@dataclass(frozen=True)
class Delivered:
    """One mail as it reached the far end."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


class FarEnd:
    """The server of the recipients: takes everything and remembers it. Runs in a thread of its own."""

    def __init__(self) -> None:
        self.mails: list[Delivered] = []
        self.port = 0
        self._up = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> FarEnd:
        """Listen on a free port."""
        self._thread.start()
        assert self._up.wait(10), "the far end did not start"
        return self

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def wait_for(self, count: int, seconds: float = 20) -> list[Delivered]:
        """The mails, once there are ``count`` of them."""
        until = time.monotonic() + seconds
        while len(self.mails) < count and time.monotonic() < until:
            time.sleep(0.02)
        assert len(self.mails) >= count, f"{len(self.mails)} of {count} mails reached the far end"
        return list(self.mails)

    def to(self, recipient: str) -> list[Delivered]:
        """The mails to one recipient; tests that share a far end use recipients of their own."""
        return [mail for mail in list(self.mails) if recipient in mail.recipients]

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """aiosmtpd's hook: a whole mail."""
        sender = "" if envelope.mail_from == "<>" else envelope.mail_from
        self.mails.append(Delivered(sender, tuple(envelope.rcpt_tos), envelope.content))
        return "250 2.0.0 Taken"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(self._loop.create_server(self._session, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _session(self) -> SMTP:
        session = SMTP(self, hostname="far.example", data_size_limit=None, loop=self._loop)
        session.line_length_limit = 1 << 20
        return session


class Postfix:
    """One Postfix instance in ``directory``, which the user postfix must be able to enter."""

    def __init__(
        self,
        directory: Path,
        *,
        auth_client_path: Path | str | None = None,
        deliver: str | None = None,
        size_limit: int = 100 * 1024 * 1024,
        settings: str = "",
    ) -> None:
        self.directory = directory
        self.tls: TlsFiles = make_ca(directory / "tls")
        self.far_end = FarEnd() if deliver is None else None
        self.log = directory / "log"
        self.smtp, self.submission, self.smtps = free_ports(3)
        self._auth = auth_client_path
        self._deliver = deliver
        self._size_limit = size_limit
        self._settings = settings

    def __enter__(self) -> Postfix:
        if self.far_end is not None:
            self.far_end.start()
            self._deliver = f"smtp:[127.0.0.1]:{self.far_end.port}"
        self._write()
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()
        if self.far_end is not None:
            self.far_end.stop()
        for name in ("etc", "queue", "data"):
            shutil.rmtree(self.directory / name, ignore_errors=True)

    def up(self) -> None:
        """Start it, again after ``down`` with what was left in its queue."""
        done = subprocess.run([POSTFIX, "-c", self._etc, "start"], capture_output=True, text=True, check=False)
        if done.returncode != 0 or not _answers(self.smtp, 20):
            said = self.log.read_text() if self.log.exists() else ""
            raise RuntimeError(f"Postfix did not start: {done.stdout}{done.stderr}{said}")

    def down(self) -> None:
        """Stop it, sessions included; the queue stays."""
        pid = self.master_pid()
        subprocess.run([POSTFIX, "-c", self._etc, "stop"], capture_output=True, check=False)
        if pid is not None:
            _wait_gone(pid)

    @property
    def _etc(self) -> str:
        return str(self.directory / "etc")

    def master_pid(self) -> int | None:
        """The process that started all others of this instance; None when it does not run."""
        try:
            return int((self.directory / "queue/pid/master.pid").read_text())
        except (OSError, ValueError):
            return None

    def _write(self) -> None:
        for name in ("etc", "queue", "data"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        shutil.chown(self.directory / "data", "postfix")
        self.log.touch()
        (self.directory / "aliases").touch()
        refusals = "".join(f"{recipient} {answer}\n" for recipient, answer in REFUSALS.items())
        (self.directory / "refusals").write_text(refusals)
        Path(self._etc, "main.cf").write_text(self._main_cf())
        Path(self._etc, "master.cf").write_text(self._master_cf())

    def _main_cf(self) -> str:
        here = self.directory
        sasl = "smtpd_sasl_auth_enable = no"
        if self._auth is not None:
            sasl = f"smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {self._auth}"
        return f"""\
compatibility_level = 3.6
queue_directory = {here}/queue
data_directory = {here}/data
daemon_directory = {_daemon_directory()}
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {self.log}
maillog_file_prefixes = {here}
multi_instance_name =
myhostname = submit.example
mydomain = example
myorigin = submit.example
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject
smtpd_recipient_restrictions = check_recipient_access texthash:{here}/refusals, permit
default_transport = {self._deliver}
relay_transport = {self._deliver}
smtp_host_lookup = native
smtp_tls_security_level = none
disable_dns_lookups = yes
message_size_limit = {self._size_limit}
smtpd_tls_security_level = may
smtpd_tls_cert_file = {self.tls.cert}
smtpd_tls_key_file = {self.tls.key}
smtpd_tls_auth_only = yes
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
default_process_limit = 200
in_flow_delay = 0
minimal_backoff_time = 10s
maximal_backoff_time = 60s
queue_run_delay = 10s
{sasl}
{self._settings}
"""

    def _master_cf(self) -> str:
        signed_in = "  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n"
        return (
            f"127.0.0.1:{self.smtp} inet n - n - - smtpd\n"
            f"127.0.0.1:{self.submission} inet n - n - - smtpd\n  -o smtpd_tls_security_level=encrypt\n{signed_in}"
            f"127.0.0.1:{self.smtps} inet n - n - - smtpd\n  -o smtpd_tls_wrappermode=yes\n{signed_in}" + _SERVICES
        )


_SERVICES = """\
pickup    unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


def _daemon_directory() -> str:
    done = subprocess.run(
        ["/usr/sbin/postconf", "-d", "-h", "daemon_directory"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "/usr/lib/postfix/sbin"


def _answers(port: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
        except OSError:
            time.sleep(0.05)
    return False


def _wait_gone(pid: int, seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
        time.sleep(0.02)
    if os.path.exists(f"/proc/{pid}"):
        os.kill(pid, signal.SIGKILL)
