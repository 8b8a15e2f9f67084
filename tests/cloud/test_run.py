"""``make run`` as a newcomer meets it: it works, it says what is missing, it leaves nothing behind."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
FREE = ("--port", "0", "--microsoft-port", "0", "--pbx-port", "0")
PATIENCE_SECONDS = 60.0


def run(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "local", "run", *arguments]
    return subprocess.Popen(  # noqa: S603
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "120"},
    )


def test_one_command_syncs_the_sample_tenant_and_sums_it_up() -> None:
    done = run("--once", *FREE)
    output, _ = done.communicate(timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, output
    assert re.search(r"succeeded\. \d{3} created, 2 associated, \d+ skipped", output)
    assert "New user; the first free number." in output
    assert "The account is disabled in Entra." in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_addresses_and_key_stays_up_and_leaves_no_process_behind(number: signal.Signals) -> None:
    process = run(*FREE)
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            break
    output = "".join(lines)
    assert re.search(r"Functions host\s+http://127.0.0.1:\d+\s+function key \S{20,}", output)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 4
    started = time.monotonic()
    process.send_signal(number)
    rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0, rest
    assert time.monotonic() - started < 10
    assert "no process is left" in rest
    assert [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []


def test_a_port_in_use_is_named_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("--port", str(port), *FREE[2:])
        output, _ = done.communicate(timeout=PATIENCE_SECONDS)
    assert done.returncode == 2
    assert f"Port {port}, meant for the Functions host, is in use" in output
    assert "--port" in output.splitlines()[-1]


def make(*arguments: str, path: str, folder: Path) -> str:
    done = subprocess.run(  # noqa: S603
        ["/usr/bin/env", "make", *arguments],
        cwd=folder,
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that the set-up looks at, in a folder where nothing is installed."""
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "package.json", "package-lock.json"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with the few programs that make itself needs, and stand-ins for others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("make", "sh", "env", "test", "echo", "rm", "touch"):
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    return folder


def stand_in(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_missing_python_is_named(checkout: Path, tools: Path) -> None:
    assert "Python 3.13 is needed" in make("run", path=str(tools), folder=checkout)


def test_another_python_is_named_with_its_version(checkout: Path, tools: Path) -> None:
    stand_in(tools, "python3", 'test "$1" = --version && echo "Python 3.11.2" && exit 0; exit 1')
    output = make("run", path=str(tools), folder=checkout)
    assert "Python 3.13 is needed" in output
    assert "Python 3.11.2" in output


def test_a_missing_or_old_node_is_named(checkout: Path, tools: Path) -> None:
    target = "node_modules/.installed"
    assert "Node.js 20 or newer is needed, and there is no node" in make(target, path=str(tools), folder=checkout)
    stand_in(tools, "node", 'test "$1" = --version && echo v18.1.0 && exit 0; exit 1')
    assert "Node.js 20 or newer is needed; this is v18.1.0" in make(target, path=str(tools), folder=checkout)
