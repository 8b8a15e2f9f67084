"""The emulator as a process of its own."""

import asyncio
import signal
import ssl
import sys
from pathlib import Path

import aiohttp
import pytest

from local.microsoft import cli
from local.tls import ServerCertificate

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_and_ends_at_once(
    certificate: ServerCertificate, ca_file: Path, number: signal.Signals
) -> None:
    program = "import sys; from local.microsoft.cli import main; sys.exit(main(sys.argv[1:]))"
    files = ["--certificate", str(certificate.certificate), "--key", str(certificate.key)]
    options = ["--users", "80", "--groups", "3", "--seed", "2", "--page-size", "7", "--trust", str(ca_file)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *files, *options, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode().strip()
    assert line.startswith("Listening on https://localhost:")
    context = ssl.create_default_context(cafile=ca_file)
    url = line.removeprefix("Listening on ") + "/_control/delta"

    async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as response:
        assert (await response.json())["page_size"] == 7
    process.send_signal(number)
    assert await asyncio.wait_for(process.wait(), 5) == 0


@pytest.mark.parametrize("wrong", [["--users", "-1"], ["--host", "8.8.8.8"], ["--users", "5", "--page-size", "0"]])
def test_wrong_arguments_are_explained(
    certificate: ServerCertificate, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    files = ["--certificate", str(certificate.certificate), "--key", str(certificate.key)]
    assert cli.main([*files, *wrong]) == 1
    assert "cannot start" in capsys.readouterr().err


def test_a_missing_certificate_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--certificate", str(tmp_path / "no.pem"), "--key", str(tmp_path / "no.key")]) == 1
    assert "cannot start" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_unreadable_authorities_are_explained(
    certificate: ServerCertificate, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    trusted = tmp_path / "trusted.pem"
    if content is not None:
        trusted.write_text(content)
    files = ["--certificate", str(certificate.certificate), "--key", str(certificate.key)]
    assert cli.main([*files, "--trust", str(trusted)]) == 1
    assert f"cannot start: the authorities to trust cannot be read from {trusted}" in capsys.readouterr().err
