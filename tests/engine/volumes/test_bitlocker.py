"""BitLocker volumes: imaged by what is used in them as the ciphertext that they are, restored, opened again."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue
from tests.engine.volumes.bitlocker import PASSWORD, SIZE, BitLocked, bitlocker, require_content
from tests.engine.volumes.stacks import MARK, gpt_disk, noise, part_of
from tests.hashes import digest
from tests.unit.volumes.bitlk_made import CBC256, RECOVERY, XTS128, Made

pytestmark = pytest.mark.engine


class Windows:
    """A volume that a password and a recovery key open, and one whose protection is suspended."""

    def __init__(self, folder: Path) -> None:
        self.locked: BitLocked = bitlocker(folder, "locked", Made(method=XTS128, password=PASSWORD, recovery=True))
        self.suspended: BitLocked = bitlocker(
            folder, "suspended", Made(method=CBC256, clear=True, volume=UUID(int=5)), megabytes=6
        )
        self.disk = folder / "disk.raw"
        self.parts = gpt_disk(self.disk, self.locked.file, self.suspended.file)
        self.password, self.recovery = folder / "password", folder / "recovery"
        self.password.write_text(PASSWORD + "\n")
        self.recovery.write_text(RECOVERY)


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Windows:
    """Nobody writes to it."""
    return Windows(tmp_path_factory.mktemp("windows"))


def test_it_is_imaged_by_what_is_used(windows: Windows, tmp_path: Path) -> None:
    """Nothing in clear is in the image; the restored volumes open as before."""
    rescue = Rescue(tmp_path / "jobs")
    before = digest(windows.disk)
    done = rescue.ok(
        "backup", windows.disk, tmp_path, "--name", "windows", "--unlock", f"1={windows.password}", "--json", "--level", "1"
    )
    facts = json.loads(done.out)["facts"]
    assert digest(windows.disk) == before
    # 18 MiB of files, and the file tables and logs of two small NTFS.
    assert facts["used_bytes"] < 40 * MIB
    assert facts["checked_volumes"] == 2
    image = tmp_path / "windows.img.zst"
    clear = run(["zstd", "-dcq", str(image)], output_limit=1 << 30).stdout
    assert MARK not in clear
    assert PASSWORD.encode() not in clear
    assert PASSWORD.encode("utf-16-le") not in clear
    told = rescue.ok("info", image).out
    assert "BitLocker (encrypted) → NTFS" in told or "BitLocker (encrypted) → ntfs" in told

    unlock = ["--unlock", f"1={windows.recovery}"]
    rescue.ok("extract", image, "1:/file-7", tmp_path / "out", *unlock)
    assert digest(tmp_path / "out" / "file-7") == windows.locked.hashes["file-7"]
    rescue.ok("extract", image, "2:/file-3", tmp_path / "out")  # its key is on it
    assert digest(tmp_path / "out" / "file-3") == windows.suspended.hashes["file-3"]
    assert rescue("ls", image, "1:/").code == 5
    assert json.loads(rescue.ok("verify", image, "--mount", "--json", *unlock).out)["facts"]["checked_volumes"] == 2

    target = noise(tmp_path / "target.raw", windows.disk.stat().st_size)
    rescue.ok("restore", image, target, "--yes")
    for number, (place, made) in enumerate(zip(windows.parts, (windows.locked, windows.suspended), strict=True)):
        require_content(part_of(target, place, tmp_path / f"restored-{number}"), made, tmp_path)


def test_without_the_password_it_is_whole(windows: Windows, tmp_path: Path) -> None:
    rescue = Rescue(tmp_path / "jobs")
    (told,) = json.loads(rescue.ok("disks", "--json", windows.disk).out)
    first, second = told["volumes"]
    assert "BitLocker" in first["whole_because"]
    assert "passphrase was not given" in first["whole_because"]
    assert first["used"] == SIZE
    assert second["whole_because"] == ""
    assert second["used"] < 20 * MIB
    wrong = tmp_path / "wrong"
    wrong.write_text("incorrect horse")
    result = rescue("backup", windows.disk, tmp_path, "--unlock", f"1={wrong}")
    assert result.code == 5
    assert "does not open" in result.err
    assert rescue("backup", windows.disk, tmp_path, "--unlock", f"2={wrong}").code == 2  # nothing there is locked
    assert not list(tmp_path.glob("*.zst*"))


def test_a_clone_takes_what_is_used(windows: Windows, tmp_path: Path) -> None:
    rescue = Rescue(tmp_path / "jobs")
    target = noise(tmp_path / "target.raw", windows.disk.stat().st_size)
    done = rescue.ok("clone", windows.disk, target, "--unlock", f"1={windows.password}", "--yes", "--no-delta", "--json")
    assert json.loads(done.out)["facts"]["written_bytes"] < 44 * MIB
    require_content(part_of(target, windows.parts[0], tmp_path / "cloned"), windows.locked, tmp_path)


@pytest.mark.parametrize("password", ["pässwörd £ 日本", PASSWORD])
def test_passwords_beyond_ascii(password: str, tmp_path: Path) -> None:
    """As Windows takes them."""
    made = bitlocker(tmp_path, "small", Made(password=password), megabytes=1, size=16 * MIB)
    disk = tmp_path / "disk.raw"
    gpt_disk(disk, made.file)
    secret = tmp_path / "secret"
    secret.write_text(password)
    rescue = Rescue(tmp_path / "jobs")
    rescue.ok("extract", disk, "1:/file-0", tmp_path / "out", "--unlock", f"1={secret}")
    assert digest(tmp_path / "out" / "file-0") == made.hashes["file-0"]
