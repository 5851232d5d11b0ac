"""The vault: what is in it, who can read it, and how large it can grow."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from dragoman.config import VaultConfig, load
from dragoman.errors import ConfigError, StoreUnavailable
from dragoman.flow.vault import Owner
from dragoman.io.store import Store
from dragoman.io.vault import KIND, StoreVault, readable_by_others, vault_of
from dragoman.secret import Secret
from tests.hands import Hands
from tests.serving import PATIENCE

ALICE = ("alice", "")
KEY = Secret(base64.b64encode(bytes(range(32))).decode())


Use = Callable[[StoreVault, Store, Hands], Awaitable[None]]


def using(path: Path, use: Use, config: VaultConfig | None = None) -> None:
    async def run() -> None:
        clock = Hands()
        store = Store(f"sqlite:///{path / 'd.db'}", clock)
        try:
            async with asyncio.timeout(PATIENCE):
                vault = vault_of(config or VaultConfig(key=KEY), store, clock)
                assert vault is not None
                await use(vault, store, clock)
        finally:
            await store.aclose()

    asyncio.run(run())


async def got(vault: StoreVault, owner: Owner, *names: str) -> Mapping[str, bytes]:
    return await vault.several(owner, names)


def test_what_is_put_in_comes_out_under_its_name_and_for_its_owner_alone(tmp_path: Path) -> None:
    async def use(vault: StoreVault, store: Store, clock: Hands) -> None:
        await vault.put(ALICE, {"a turn": b"one", "another": b"two"})
        assert await got(vault, ALICE, "a turn", "another", "a third") == {"a turn": b"one", "another": b"two"}
        assert await got(vault, ("bob", ""), "a turn") == {}
        assert await got(vault, ("alice", "0123"), "a turn") == {}

    using(tmp_path, use)


def test_neither_the_words_nor_the_state_can_be_read_on_the_disk(tmp_path: Path) -> None:
    async def use(vault: StoreVault, store: Store, clock: Hands) -> None:
        await vault.put(ALICE, {"the words of a conversation": b"what a provider sealed" * 20})

    using(tmp_path, use)
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        assert b"words" not in data
        assert b"sealed" not in data.replace(KIND.encode(), b"")


def test_the_same_state_never_looks_the_same_twice(tmp_path: Path) -> None:
    async def use(vault: StoreVault, store: Store, clock: Hands) -> None:
        await vault.put(ALICE, {"a": b"state"})
        first = (await store.page(KIND, "alice"))[0].body
        await vault.put(ALICE, {"a": b"state"})
        assert (await store.page(KIND, "alice"))[0].body != first

    using(tmp_path, use)


def test_what_was_tampered_with_or_moved_is_not_there(tmp_path: Path) -> None:
    async def use(vault: StoreVault, store: Store, clock: Hands) -> None:
        await vault.put(ALICE, {"a": b"state"})
        record = (await store.page(KIND, "alice"))[0]
        turned = record.body[:-1] + bytes([record.body[-1] ^ 1])
        await store.put(msgspec.structs.replace(record, body=turned))
        assert await got(vault, ALICE, "a") == {}
        await store.put(msgspec.structs.replace(record, owner="bob"))
        assert await got(vault, ("bob", ""), "a") == {}
        await store.put(msgspec.structs.replace(record, body=record.body[:20]))
        assert await got(vault, ALICE, "a") == {}

    using(tmp_path, use)


def test_with_another_key_nothing_is_there(tmp_path: Path) -> None:
    async def put(vault: StoreVault, store: Store, clock: Hands) -> None:
        await vault.put(ALICE, {"a": b"state"})

    async def look(vault: StoreVault, store: Store, clock: Hands) -> None:
        assert await got(vault, ALICE, "a") == {}

    using(tmp_path, put)
    using(tmp_path, look, VaultConfig(key=Secret("ab" * 32)))


def test_it_cannot_grow_beyond_its_entries(tmp_path: Path) -> None:
    async def use(vault: StoreVault, store: Store, clock: Hands) -> None:
        for number in range(4):
            await vault.put(ALICE, {f"turn {number} {each}": b"x" for each in range(50)})
        assert len(await store.page(KIND, "alice", limit=1000)) <= 16
        await vault.put(ALICE, {"the last": b"y"})
        assert await got(vault, ALICE, "the last") == {"the last": b"y"}

    using(tmp_path, use, VaultConfig(key=KEY, entries=16))


def test_an_entry_waits_its_time_and_longer_when_the_conversation_goes_on(tmp_path: Path) -> None:
    async def use(vault: StoreVault, store: Store, clock: Hands) -> None:
        await vault.put(ALICE, {"a": b"state", "b": b"state"})
        clock.at += 80
        assert await got(vault, ALICE, "a") == {"a": b"state"}
        clock.at += 80
        assert await got(vault, ALICE, "a", "b") == {"a": b"state"}
        clock.at += 101
        assert await got(vault, ALICE, "a", "b") == {}

    using(tmp_path, use, VaultConfig(key=KEY, ttl=100))


def test_who_has_nothing_there_is_asked_for_once_a_second_and_found_at_once_after_a_put(tmp_path: Path) -> None:
    async def use(vault: StoreVault, store: Store, clock: Hands) -> None:
        assert await got(vault, ALICE, "a") == {}
        await vault.put(ALICE, {"a": b"state"})
        assert await got(vault, ALICE, "a") == {"a": b"state"}
        other = StoreVault(VaultConfig(key=KEY), store, clock)  # another process
        assert await got(other, ("bob", ""), "b") == {}
        await vault.put(("bob", ""), {"b": b"state"})
        assert await got(other, ("bob", ""), "b") == {}
        clock.at += 1.1
        assert await got(other, ("bob", ""), "b") == {"b": b"state"}

    using(tmp_path, use)


def test_the_key_is_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    key = tmp_path / "state" / "vault.key"
    config = VaultConfig(key_file=str(key))

    async def put(vault: StoreVault, store: Store, clock: Hands) -> None:
        others = [StoreVault(config, store, clock) for _ in range(4)]
        await asyncio.gather(*(one.put(ALICE, {str(number): b"x"}) for number, one in enumerate([vault, *others])))
        assert len(await got(vault, ALICE, *map(str, range(5)))) == 5

    using(tmp_path, put, config)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(base64.urlsafe_b64decode(key.read_bytes())) == 32
    assert [path.name for path in key.parent.iterdir()] == ["vault.key"]


def test_a_key_that_cannot_be_read_is_told_to_who_needs_it(tmp_path: Path) -> None:
    (tmp_path / "vault.key").write_text("too short\n")
    (tmp_path / "vault.key").chmod(0o600)

    async def use(vault: StoreVault, store: Store, clock: Hands) -> None:
        with pytest.raises(StoreUnavailable, match="no key"):
            await vault.put(ALICE, {"a": b"x"})

    using(tmp_path, use, VaultConfig(key_file=str(tmp_path / "vault.key")))


@pytest.mark.skipif(sys.platform == "win32", reason="has no modes")
@pytest.mark.parametrize("mode", [0o644, 0o606, 0o620])
def test_a_key_that_others_can_read_is_refused_until_they_cannot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    key = tmp_path / "vault.key"
    key.write_bytes(base64.urlsafe_b64encode(bytes(32)))
    key.chmod(mode)

    async def use(vault: StoreVault, store: Store, clock: Hands) -> None:
        assert f"has the mode {mode:04o}" in caplog.text, "said before it is needed"
        for seconds in (0, 1, 60):
            clock.at += seconds
            with pytest.raises(StoreUnavailable, match=rf"others can read .*chmod 600 {key}"):
                await vault.put(ALICE, {"a": b"x"})
        assert caplog.text.count("its key in") == 2, "once a minute, whoever asks"
        key.chmod(0o400)
        await vault.put(ALICE, {"a": b"x"})
        assert await got(vault, ALICE, "a") == {"a": b"x"}

    using(tmp_path, use, VaultConfig(key_file=str(key)))


@pytest.mark.skipif(sys.platform == "win32", reason="has no modes")
@pytest.mark.parametrize(
    ("mode", "owner", "fine"),
    [(0o600, 5, True), (0o400, 5, True), (0o640, 5, False), (0o440, 0, True), (0o640, 0, True), (0o644, 0, False)],
)
def test_roots_own_key_may_be_shared_with_a_group_as_orchestrators_do(mode: int, owner: int, fine: bool) -> None:
    found = os.stat_result((stat.S_IFREG | mode, 1, 1, 1, owner, 0, 45, 0, 0, 0))
    assert (readable_by_others(Path("vault.key"), found) is None) == fine


@pytest.mark.skipif(sys.platform == "win32", reason="has no modes")
def test_a_demanded_vault_whose_key_others_can_read_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    key = tmp_path / "vault.key"
    key.write_bytes(base64.urlsafe_b64encode(bytes(32)))
    key.chmod(0o604)
    store = Store("sqlite:///:memory:", Hands())
    with pytest.raises(ConfigError, match="others can read"):
        vault_of(VaultConfig(enabled=True, key_file=str(key)), store, Hands())
    assert vault_of(VaultConfig(enabled=True, key=KEY, key_file=str(key)), store, Hands()) is not None, "it is not needed"


# ---------------------------------------------------------------- its configuration


def configured(text: str, **env: str) -> VaultConfig:
    return load(text, ".yaml", env, "file").vault


def test_the_key_stands_beside_the_records_unless_it_is_given(tmp_path: Path) -> None:
    assert configured("store: /data/d.db").key_file == "/data/vault.key"
    assert configured("{}", HOME="/home/me").key_file == "/home/me/.local/state/dragoman/vault.key"
    assert configured("{}", HOME="/home/me", DRAGOMAN_VAULT_KEY="ab" * 32).key == Secret("ab" * 32)
    assert configured("vault: {key_file: /keys/k}").key_file == "/keys/k"
    assert configured("vault: false").enabled is False


def test_a_wrong_key_is_a_mistake_that_is_named_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="openssl rand -base64 32") as caught:
        configured("vault: {key: hunter2hunter2hunter2}")
    assert "hunter2hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="needs the store"):
        configured("{vault: true, store: false}")


def test_without_a_store_or_a_place_for_its_key_there_is_no_vault(tmp_path: Path) -> None:
    clock = Hands()
    assert vault_of(VaultConfig(), None, clock) is None
    store = Store("sqlite:///:memory:", clock)
    assert vault_of(VaultConfig(), store, clock) is None
    assert vault_of(VaultConfig(enabled=False, key=KEY), store, clock) is None
