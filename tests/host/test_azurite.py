"""The Azurite launcher."""

import asyncio
import os
import stat
import sys
from pathlib import Path

import psutil
import pytest
from azure.data.tables.aio import TableServiceClient

from local.azurite import Azurite
from local.errors import LocalCloudError
from tests.host.support import until

ROOT = Path(__file__).resolve().parents[2]


async def test_data_on_disk_survives_a_restart_at_the_same_address() -> None:
    async with Azurite(persist=True) as azurite:
        address, folder, first = azurite.connection_string, azurite._known_folder(), azurite.pid
        async with TableServiceClient.from_connection_string(address) as tables:
            await tables.create_table("kept")
            await azurite.restart()
            assert [one.name async for one in tables.list_tables()] == ["kept"]
        assert azurite.connection_string == address
        assert azurite.pid != first
    assert azurite.pid is None
    assert not folder.exists(), "the scratch folder is removed"


async def test_a_restart_of_data_in_memory_is_refused(azurite: Azurite) -> None:
    with pytest.raises(LocalCloudError, match="persist=True"):
        await azurite.restart()


async def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    launcher = tmp_path / "launcher.py"
    launcher.write_text(
        f"import asyncio, sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from local.azurite import Azurite\n"
        "async def main():\n"
        "    async with Azurite() as azurite:\n"
        "        print(azurite.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, str(launcher), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    assert "node" in psutil.Process(pid).name()
    process.kill()
    await process.communicate()
    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


async def test_a_missing_node_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalCloudError, match=r"needs Node.js 20 .* no `node`"):
        await Azurite().start()


async def test_an_old_node_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\necho v18.19.0\n")
    node.chmod(node.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(LocalCloudError, match=r"v18\.19\.0"):
        await Azurite().start()


async def test_missing_or_other_node_modules_are_named(tmp_path: Path) -> None:
    with pytest.raises(LocalCloudError, match="npm ci"):
        await Azurite(modules=tmp_path).start()
    (tmp_path / "azurite").mkdir()
    (tmp_path / "azurite" / "package.json").write_text('{"version": "3.37.0"}')
    with pytest.raises(LocalCloudError, match=r"has 3\.37\.0"):
        await Azurite(modules=tmp_path).start()
