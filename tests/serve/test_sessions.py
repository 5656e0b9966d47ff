"""Who is admitted, who waits, who may go on where a connection was cut."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from wire import HEIGHT, HELLO, WIDTH, ending, input_frame, next_json, next_output, raw, run

from lsdjax.serve.auth import check_token, issue_token, load_secret
from lsdjax.serve.client import LiveClient, ServerError
from lsdjax.serve.protocol import ProtocolError, pack_json
from lsdjax.serve.proxy import ThrottledProxy

SECRET = b"sixteen bytes, at least"


async def say_hello(connection: ClientConnection, **fields: Any) -> dict[str, Any]:
    """Says hello; the first answer."""
    await connection.send(json.dumps(HELLO | fields))
    return await next_json(connection)


def cut(connection: ClientConnection) -> None:
    """Drops a connection as a network does."""
    connection.transport.abort()


async def exchange(connection: ClientConnection, seq: int) -> np.ndarray:
    await connection.send(input_frame(seq))
    header, picture = await next_output(connection)
    assert header.seq == seq
    await connection.send(pack_json("ack", seq=seq))
    return picture


async def answer(client: LiveClient, picture: np.ndarray) -> int:
    """Sends until something comes back: what is on its way while a connection is cut is lost."""
    while not client.has_output:
        if client.can_send:
            await client.send(picture)
        await client.wait_for_change(0.3)
    return int((await client.receive()).frame[0, 0, 0])


# -- the queue -----------------------------------------------------------------------------------


def test_those_who_wait_hear_their_position_and_are_served_in_order(
    start_server: Callable[..., Any],
) -> None:
    server = start_server({"max_sessions": 1, "queue": 2})

    async def work() -> None:
        async with raw(server, None) as one, raw(server, None) as two, raw(server, None) as three:
            assert (await say_hello(one))["type"] == "welcome"
            waiting = await say_hello(two)
            assert waiting["type"] == "queue" and (waiting["position"], waiting["size"]) == (1, 1)
            waiting = await say_hello(three)
            assert (waiting["position"], waiting["size"]) == (2, 2)
            async with raw(server, None) as four:
                await four.send(json.dumps(HELLO))
                error, code = await ending(four)
                assert code == 1013 and error is not None and error["code"] == "full"
            assert server.get_json("/api/info")["sessions"] == {"active": 1, "queued": 2, "max": 1}
            await one.send(pack_json("bye"))
            assert (await next_json(two, "welcome"))["session_id"]
            await next_json(two, "started")
            assert (await next_json(three, "queue"))["position"] in (1, 2)
            await exchange(two, 0)
            cut(three)
            await two.send(pack_json("bye"))
        async with raw(server) as last:
            await exchange(last, 0)

    run(work())
    text = server.get("/metrics")[2].decode()
    assert 'lsd_sessions_rejected_total{reason="full"} 1.0' in text
    assert 'lsd_sessions{state="queued"} 0.0' in text


def test_without_a_number_of_seats_the_step_time_decides(
    start_server: Callable[..., Any],
) -> None:
    server = start_server({"max_sessions": None}, FAKE_STEP_MS="100")

    async def work() -> None:
        slow = HELLO | {"fps": 1}
        async with raw(server, slow), raw(server, slow), raw(server, None) as third:
            # 100 ms for each of 1 + 1 + 30 frames a second are too much
            assert (await say_hello(third, fps=30))["type"] == "queue"

    run(work())


# -- resumption ----------------------------------------------------------------------------------


def test_a_session_that_was_cut_goes_on_where_it_was(server: Any) -> None:
    async def work() -> None:
        async with raw(server, None) as first:
            welcome = await say_hello(first)
            await next_json(first, "started")
            await first.send(pack_json("params", id=1, prompt="index", strength=0.5))
            await next_json(first, "params_ack")
            assert (await exchange(first, 0))[0, 0, 0] == 30
            cut(first)
        async with raw(server, None) as second:
            again = await say_hello(second, resume=welcome["resume_token"])
            assert again["resumed"] and again["session_id"] == welcome["session_id"]
            assert again["resume_token"] != welcome["resume_token"]
            assert again["params"]["prompt"] == "index" and again["params"]["strength"] == 0.5
            await next_json(second, "started")
            assert (await exchange(second, 1))[0, 0, 0] == 35  # its second frame
            stats = await next_json(second, "stats")
            while stats["received"] < 2:
                stats = await next_json(second, "stats")
            assert stats["received"] == stats["sent"] == 2

    run(work())


def test_the_newer_connection_wins_and_a_token_works_once(server: Any) -> None:
    async def work() -> None:
        async with raw(server, None) as first, raw(server, None) as second:
            token = (await say_hello(first))["resume_token"]
            assert (await say_hello(second, resume=token))["resumed"]
            error, code = await ending(first)
            assert code == 4409 and error is not None and error["code"] == "taken_over"
            async with raw(server, None) as thief:
                await thief.send(json.dumps(HELLO | {"resume": token}))
                error, code = await ending(thief)
                assert code == 4410 and error is not None and not error["retryable"]
            await next_json(second, "started")
            await exchange(second, 0)

    run(work())


def test_of_two_resumers_one_gets_the_session(server: Any) -> None:
    async def attempt(token: str) -> str:
        async with raw(server, None) as connection:
            try:
                answer = await say_hello(connection, resume=token)
                if answer["type"] == "error":
                    return answer["code"]
                await next_json(connection, "started")
                await asyncio.sleep(0.3)  # the other one is surely done
                await exchange(connection, 5)
                return "resumed"
            except ConnectionClosed as closed:
                return str(closed)

    async def work() -> tuple[str, ...]:
        async with raw(server, None) as first:
            token = (await say_hello(first))["resume_token"]
            cut(first)
        return await asyncio.gather(attempt(token), attempt(token))

    assert sorted(run(work())) == ["resume_expired", "resumed"]


def test_a_place_is_kept_for_a_while_only(start_server: Callable[..., Any]) -> None:
    server = start_server({"max_sessions": 1, "resume_seconds": 0.2})

    async def work() -> None:
        async with raw(server, None) as first:
            token = (await say_hello(first))["resume_token"]
            cut(first)
        async with raw(server) as second:  # after a wait in the queue
            await exchange(second, 0)
            async with raw(server, None) as late:
                await late.send(json.dumps(HELLO | {"resume": token}))
                assert (await ending(late))[1] == 4410

    run(work())


def test_a_place_that_was_resumed_is_not_given_away(start_server: Callable[..., Any]) -> None:
    server = start_server({"max_sessions": 1, "resume_seconds": 3.0})

    async def work() -> None:
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(raw(server, None))
            token = (await say_hello(connection))["resume_token"]
            for _ in range(3):  # at once, often before the server knows that the last one is gone
                cut(connection)
                connection = await stack.enter_async_context(raw(server, None))
                welcome = await say_hello(connection, resume=token)
                assert welcome["resumed"]
                token = welcome["resume_token"]
            await next_json(connection, "started")
            await asyncio.sleep(4.0)
            await exchange(connection, 0)

    run(work())


def test_a_goodbye_frees_the_place_at_once(start_server: Callable[..., Any]) -> None:
    server = start_server({"max_sessions": 1, "resume_seconds": 600})

    async def work() -> None:
        for _ in range(3):
            async with raw(server) as connection:
                await exchange(connection, 0)

    run(work())


def test_the_client_reconnects_and_resumes_by_itself(server: Any) -> None:
    async def work() -> None:
        told: list[str] = []
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        async with (
            ThrottledProxy("127.0.0.1", server.port, 1000) as proxy,
            LiveClient(
                f"ws://127.0.0.1:{proxy.port}", prompt="index", on_notice=told.append
            ) as client,
        ):
            await client.send(picture)
            assert (await client.receive()).frame[0, 0, 0] == 10
            session = client.welcome["session_id"]
            for expected in (20, 30):
                proxy.cut()
                while await answer(client, picture) < expected:
                    pass
            assert (client.reconnects, client.resumed) == (2, 2)
            assert client.welcome["session_id"] == session
            assert any("connecting again" in text for text in told)

    run(work())


def test_the_client_starts_anew_where_its_session_is_gone(
    start_server: Callable[..., Any],
) -> None:
    server = start_server()

    async def work() -> None:
        async with (
            ThrottledProxy("127.0.0.1", server.port, 1000) as proxy,
            LiveClient(f"ws://127.0.0.1:{proxy.port}", prompt="negative") as client,
        ):
            await client.set_params(strength=0.0)
            client.welcome["resume_token"] = "0" * 32
            proxy.cut()
            while client.reconnects == 0:
                await client.wait_for_change(1.0)
            # the first frame may be made before the parameters are told again
            while abs(await answer(client, np.full((HEIGHT, WIDTH, 3), 40, np.uint8)) - 40) > 3:
                pass
            assert client.resumed == 0

    run(work())


# -- bearer tokens -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(start_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("secret") / "secret"
    path.write_bytes(SECRET + b"\n")
    return start_server({"token_secret": str(path)})


def test_a_token_says_what_was_put_in_it_and_no_other_secret_takes_it() -> None:
    token = issue_token(SECRET, valid_s=60, max_s=5, name="ada")
    grant = check_token(SECRET, token)
    assert grant.id == "ada" and grant.max_s == 5 and 0 < grant.remaining_s() <= 5
    head, body, signature = token.split(".")
    for wrong in (
        None, "", ".", "..", "v1..", "v1.é.é", "v2" + token[2:], token[:-1], token + "A",
        f"{head}.{body[::-1]}.{signature}", issue_token(b"another secret!!", valid_s=60, max_s=5),
    ):  # fmt: skip
        with pytest.raises(ProtocolError) as caught:
            check_token(SECRET, wrong)
        assert caught.value.close == 4401
        assert wrong is None or len(wrong) < 5 or wrong not in caught.value.message
    with pytest.raises(ProtocolError, match="expired"):
        check_token(SECRET, issue_token(SECRET, valid_s=-1, max_s=5))


def test_a_secret_must_be_long_enough(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"fifteen  bytes!")
    with pytest.raises(ValueError, match="15 bytes"):
        load_secret(str(tmp_path / "short"))
    with pytest.raises(ValueError, match="cannot read"):
        load_secret(str(tmp_path / "none"))


@pytest.mark.parametrize("token", [None, "no token", "v1.e30.AAAA"])
def test_without_a_valid_token_nobody_is_admitted(guarded: Any, token: str | None) -> None:
    async def work() -> tuple[dict[str, Any] | None, int]:
        async with raw(guarded, None) as connection:
            await connection.send(json.dumps(HELLO | {"token": token}))
            return await ending(connection)

    error, code = run(work())
    assert code == 4401 and error is not None and not error["retryable"]


def test_a_token_is_taken_from_the_hello_or_from_a_header(guarded: Any) -> None:
    async def work() -> None:
        one, two = (issue_token(SECRET, valid_s=60, max_s=60) for _ in range(2))
        async with raw(guarded, HELLO | {"token": one}) as connection:
            await exchange(connection, 0)
        headers = {"Authorization": f"Bearer {two}"}
        async with raw(guarded, HELLO, additional_headers=headers) as connection:
            await exchange(connection, 0)

    run(work())


def test_a_token_has_one_session_at_a_time_and_a_replay_costs_its_owner_nothing(
    guarded: Any,
) -> None:
    async def work() -> None:
        token = issue_token(SECRET, valid_s=60, max_s=60)
        async with raw(guarded, HELLO | {"token": token}) as owner:
            async with raw(guarded, None) as thief:
                await thief.send(json.dumps(HELLO | {"token": token}))
                error, code = await ending(thief)
                assert code == 4401 and error is not None and error["code"] == "token_in_use"
            await exchange(owner, 0)

    run(work())


def test_a_stolen_resume_token_is_worth_nothing_without_the_bearer_token(guarded: Any) -> None:
    async def work() -> None:
        mine, other = (issue_token(SECRET, valid_s=60, max_s=60) for _ in range(2))
        async with raw(guarded, None) as owner:
            resume = (await say_hello(owner, token=mine))["resume_token"]
            await next_json(owner, "started")
            async with raw(guarded, None) as thief:
                await thief.send(json.dumps(HELLO | {"token": other, "resume": resume}))
                error, code = await ending(thief)
                assert code == 4401 and error is not None and error["code"] == "not_yours"
            await exchange(owner, 0)

    run(work())


def test_a_session_ends_with_its_tokens_time(guarded: Any) -> None:
    async def work() -> None:
        token = issue_token(SECRET, valid_s=60, max_s=0.3)
        with pytest.raises(ServerError, match="time is up") as caught:
            async with LiveClient(guarded.url, token=token) as client:
                while True:
                    await client.wait_for_change(1.0)
        assert caught.value.code == "token_expired" and not caught.value.retryable

    run(work())
