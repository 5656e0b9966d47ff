"""The page in a real headless Chromium with a fake camera, driven over its DevTools protocol.

Files are real files, chosen in a dialog that the test answers. A headless browser has no screen to
share, so what is shared is a second tab, whose pixels are captured for real.
"""

import base64
import itertools
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from lsdjax.data.writer import VideoWriter
from lsdjax.serve.auth import issue_token

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TIMEOUT_S = 180
SHARING_ATTEMPTS = 6
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio",
    "--no-first-run", "--no-default-browser-check", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars",
    "--disable-features=Translate,MediaRouter,OptimizationHints", "--disable-breakpad",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0", "--window-size=1280,900",
)  # fmt: skip
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
ALL_REFUSED = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream=deny")
SHARED_TAB = ("--auto-select-tab-capture-source-by-title=shared",)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)"
)


class Browser:
    """A Chromium of its own, with one page at a time."""

    def __init__(self, profile: Path, flags: tuple[str, ...] = FAKE_CAMERA) -> None:
        self._process = subprocess.Popen(
            [str(CHROMIUM), *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stack = ExitStack()
        self._stack.callback(self._end)
        self._ids = itertools.count(1)
        self._chooser: int | None = None
        self.complaints: list[str] = []
        try:
            self._attach(profile / "DevToolsActivePort")
        except BaseException:
            self.close()
            raise

    def _attach(self, port_file: Path) -> None:
        wait_until(lambda: port_file.exists() and "\n" in port_file.read_text())
        port = port_file.read_text().splitlines()[0]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT"
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            target = json.load(response)
        self._socket = self._stack.enter_context(
            connect(target["webSocketDebuggerUrl"], max_size=1 << 28, compression=None)
        )
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.setInterceptFileChooserDialog", enabled=True)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command; the console errors that arrive meanwhile are kept."""
        wanted = next(self._ids)
        self._socket.send(json.dumps({"id": wanted, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=TIMEOUT_S))
            if message.get("id") == wanted:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message["method"]:
            case "Page.fileChooserOpened":
                self._chooser = params["backendNodeId"]
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "assert", "warning"):
                self.complaints.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.complaints.append(json.dumps(params["entry"]))

    def open(self, url: str) -> None:
        self.complaints.clear()
        self.call("Page.navigate", url=url)

        def loaded() -> bool:
            try:
                ready = "document.readyState === 'complete' && location.href"
                return str(self.run(ready)).startswith(url)
            except AssertionError:
                return False  # between the two documents

        wait_until(loaded)

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True,
            userGesture=True,
        )  # fmt: skip
        assert "exceptionDetails" not in result, (script, result["exceptionDetails"])
        return result["result"].get("value")

    def wait(self, script: str) -> None:
        """Waits until an expression holds."""
        try:
            wait_until(lambda: self.run(script))
        except AssertionError:
            state = self.run("[document.body?.innerText, {...document.documentElement.dataset}]")
            raise AssertionError((script, state, self.complaints)) from None

    def choose(self, source: str) -> None:
        """Presses one of the buttons for the source."""
        self.run(f"document.querySelector('#sources [data-source={source}]').click()")

    def choose_file(self, path: Path) -> None:
        """Presses File, and picks a file in the dialog that opens."""
        self._chooser = None
        self.choose("file")
        wait_until(lambda: self.run("true") and self._chooser is not None)
        self.call("DOM.setFileInputFiles", files=[str(path)], backendNodeId=self._chooser)

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            extra = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            named = {"Enter": 13, "ArrowRight": 39, "Home": 36, "Tab": 9, "Escape": 27}
            code = named.get(key) or ord(key.upper())
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key,
                windowsVirtualKeyCode=code, **extra,
            )  # fmt: skip

    def screenshot(self, path: Path) -> None:
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def look(self, width: int, height: int, scheme: str) -> None:
        """Sets the size of the window and the colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    def pictures(self) -> tuple[np.ndarray, np.ndarray]:
        """What the two canvases show at one moment, shrunk: input and output, int (24, 32, 3)."""
        script = """["input", "output"].map((id) => {
            const small = document.createElement("canvas");
            [small.width, small.height] = [32, 24];
            const context = small.getContext("2d");
            context.drawImage(document.getElementById(id), 0, 0, 32, 24);
            return [...context.getImageData(0, 0, 32, 24).data];
        })"""
        shown, made = np.array(self.run(script)).reshape(2, 24, 32, 4)[..., :3]
        return shown, made

    def close(self) -> None:
        self._stack.close()

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=TIMEOUT_S)


def wait_until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a bright disc that moves over a gradient."""
    path = tmp_path_factory.mktemp("clip") / "sample.mp4"
    y, x = np.mgrid[0:144, 0:192]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 192, 144, "yuv420p"
        for index in range(60):
            picture = np.stack([x, y, np.full_like(x, 60)], axis=-1).astype(np.uint8)
            picture[(x - 40 - 2 * index) ** 2 + (y - 72) ** 2 < 900] = (250, 240, 200)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def page_server(start_server: Callable[..., Any], clip: Path) -> Any:
    return start_server({"sample": str(clip), "max_sessions": 2})


def frames(browser: Browser) -> int:
    return int(browser.run("document.documentElement.dataset.frames ?? 0"))


def stream(browser: Browser, count: int = 15) -> None:
    """Waits for some more frames."""
    target = frames(browser) + count
    browser.wait(f"Number(document.documentElement.dataset.frames ?? 0) >= {target}")


TOP, BOTTOM, LEFT, RIGHT = slice(2, 10), slice(14, 22), slice(2, 14), slice(18, 30)
RED, BLUE = (220, 40, 40), (20, 60, 220)


def negates(
    pictures: tuple[np.ndarray, np.ndarray], rows: slice, columns: slice, colour: tuple[int, ...]
) -> bool:
    """Whether a colour fills a part of the input and its negative that part of the output.

    What is small and moves may be in front, and codecs may change the colour a little.
    """
    shown, made = (np.median(picture[rows, columns], axis=(0, 1)) for picture in pictures)
    colour_away = np.abs(shown - colour).max()
    negative_away = np.abs(made - (255 - np.array(colour))).max()
    return bool(max(colour_away, negative_away) < 45)


def apply_prompt(browser: Browser, text: str) -> None:
    """Types a prompt, presses Enter and waits until it is in effect and drawn."""
    browser.run(f"document.getElementById('prompt').value = {text!r}")
    browser.run("document.getElementById('prompt').focus()")
    revision = int(browser.run("document.documentElement.dataset.revision ?? 0"))
    browser.press("Enter")
    browser.wait(f"Number(document.documentElement.dataset.revision) > {revision}")
    stream(browser, 8)


def is_negative(browser: Browser) -> bool:
    shown, made = browser.pictures()
    return bool(np.abs(made - (255 - shown)).mean() < 12)


def is_original(browser: Browser) -> bool:
    shown, made = browser.pictures()
    return bool(np.abs(made - shown).mean() < 12)


def write_sound(path: Path) -> None:
    """A second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 44100), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def open_shared_tab(browser: Browser) -> str:
    """A tab behind the page, red and blue, whose title the browser takes for the user's choice.

    Something in its corner moves: of a still tab, a capture may have no picture at all.
    """
    gradient = f"linear-gradient(90deg, rgb{RED} 50%, rgb{BLUE} 0)"
    style = f"margin: 0; height: 100vh; background: {gradient}"
    moving = "position: fixed; right: 0; top: 0; animation: turn 1s linear infinite"
    page = (
        "<title>shared</title><style>@keyframes turn { to { transform: rotate(1turn) } }</style>"
        f'<body style="{style}"><div style="{moving}">+</div>'
    )
    address = "data:text/html;base64," + base64.b64encode(page.encode()).decode()
    tab = browser.call("Target.createTarget", url=address, background=True)["targetId"]

    def loaded() -> bool:
        targets = browser.call("Target.getTargets")["targetInfos"]
        return any(each["targetId"] == tab and each["title"] == "shared" for each in targets)

    wait_until(loaded)
    return tab


@contextmanager
def sharing(url: str, folder: Path) -> Iterator[tuple[Browser, str]]:
    """A browser whose page shows a tab that it was given, and that tab.

    On a busy machine the browser's own dialog can miss the title that it is told to choose, and
    waits for a hand then, also across a reload: only another browser is rid of it.
    """
    state = None
    for attempt in range(SHARING_ATTEMPTS):
        with closing(Browser(folder / f"profile-{attempt}", SHARED_TAB)) as browser:
            browser.open(url)
            stream(browser, 5)
            tab = open_shared_tab(browser)
            browser.choose("screen")
            end = time.monotonic() + TIMEOUT_S / SHARING_ATTEMPTS
            while time.monotonic() < end:
                if browser.run("document.documentElement.dataset.source === 'screen'"):
                    yield browser, tab
                    return
                time.sleep(0.1)
            state = browser.run("document.body.innerText"), browser.complaints
    raise AssertionError(state)


@pytest.mark.parametrize("codec", ["rgb24", "jpeg", "h264"])
def test_the_sample_streams_at_once_and_a_prompt_changes_the_picture(
    browser: Browser, page_server: Any, tmp_path: Path, codec: str
) -> None:
    browser.look(1280, 900, "light")
    browser.open(f"{page_server.url}/?codec={codec}")
    stream(browser)
    assert browser.run("document.documentElement.dataset.source") == "sample"
    assert browser.run("document.getElementById('status-text').textContent") == "Live"
    assert browser.run("document.getElementById('veil').hidden")
    apply_prompt(browser, "original")
    assert browser.pictures()[1].std() > 10
    assert is_original(browser) and not is_negative(browser)
    browser.screenshot(tmp_path / "original.png")
    apply_prompt(browser, "negative")
    assert is_negative(browser) and not is_original(browser)
    browser.wait("Number(document.getElementById('fps').textContent) > 0")
    browser.wait("Number(document.getElementById('latency').textContent) >= 0")
    browser.screenshot(tmp_path / "negative.png")
    assert browser.complaints == []


def test_the_webcam_streams(browser: Browser, page_server: Any, tmp_path: Path) -> None:
    browser.open(f"{page_server.url}/?prompt=negative")
    stream(browser, 5)
    browser.run("document.querySelector('[data-source=webcam]').click()")
    browser.wait("document.documentElement.dataset.source === 'webcam'")
    stream(browser)
    assert is_negative(browser)
    assert browser.pictures()[0].std() > 10
    browser.screenshot(tmp_path / "webcam.png")
    assert browser.complaints == []


def test_a_file_streams(
    browser: Browser, page_server: Any, tmp_path: Path, picture_of: Callable[..., np.ndarray]
) -> None:
    path = tmp_path / "mine.mp4"
    with VideoWriter(path, fps=24, height=96, width=128) as writer:
        for index in range(48):
            writer.write(picture_of(96, 128, index))
    browser.open(f"{page_server.url}/?prompt=negative")
    stream(browser, 5)
    browser.choose_file(path)
    browser.wait("document.documentElement.dataset.source === 'file'")
    stream(browser)
    pictures = browser.pictures()
    assert negates(pictures, TOP, LEFT, (255, 0, 0))
    assert negates(pictures, TOP, RIGHT, (0, 255, 0))
    assert negates(pictures, BOTTOM, LEFT, (0, 0, 255))
    assert negates(pictures, BOTTOM, RIGHT, (255, 255, 255))
    # it plays: a column moves over the quarters
    wait_until(lambda: np.abs(browser.pictures()[1] - pictures[1]).max() > 20)
    browser.screenshot(tmp_path / "file.png")
    assert browser.run("document.getElementById('notice').hidden")
    assert browser.complaints == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("notes.mp4", "“notes.mp4” is not a video"),
        ("sound.mp4", "“sound.mp4” has no picture"),
        ("truncated.mp4", "The rest of this file cannot be played"),
    ],
)
def test_a_file_that_cannot_be_played_is_explained_and_the_sample_goes_on(
    browser: Browser,
    page_server: Any,
    tmp_path: Path,
    truncated_video: Path,
    name: str,
    words: str,
) -> None:
    (tmp_path / "notes.mp4").write_text("No video at all.\n" * 50)
    write_sound(tmp_path / "sound.mp4")
    assert truncated_video == tmp_path / "truncated.mp4"
    browser.open(f"{page_server.url}/?prompt=negative")
    stream(browser, 5)
    browser.choose_file(tmp_path / name)
    browser.wait(f"document.getElementById('notice').innerText.includes({words!r})")
    assert browser.run("document.documentElement.dataset.source") == "sample"
    pressed = "document.querySelector('#sources [aria-pressed=true]').dataset.source"
    assert browser.run(pressed) == "sample"
    stream(browser)
    assert is_negative(browser)
    browser.screenshot(tmp_path / "unplayable.png")


def test_a_shared_tab_streams_until_sharing_ends(page_server: Any, tmp_path: Path) -> None:
    with sharing(f"{page_server.url}/?prompt=negative", tmp_path) as (browser, tab):

        def shows_the_tab() -> bool:
            pictures = browser.pictures()
            return negates(pictures, TOP, LEFT, RED) and negates(pictures, BOTTOM, RIGHT, BLUE)

        wait_until(shows_the_tab)
        stream(browser)
        assert not browser.run("document.hidden")  # else it would pause
        browser.screenshot(tmp_path / "shared.png")
        browser.call("Target.closeTarget", targetId=tab)
        browser.wait("document.getElementById('notice').innerText.includes('sharing has ended')")
        assert browser.run("document.documentElement.dataset.source") == "sample"
        stream(browser)
        assert is_negative(browser) and not shows_the_tab()
        browser.screenshot(tmp_path / "ended.png")
        assert browser.complaints == []


def test_a_refused_screen_or_camera_is_explained_and_the_sample_goes_on(
    page_server: Any, tmp_path: Path
) -> None:
    with closing(Browser(tmp_path / "profile", ALL_REFUSED)) as browser:
        browser.open(f"{page_server.url}/?prompt=negative")
        stream(browser, 5)
        refused = {"screen": "Screen sharing was refused", "webcam": "The camera was refused"}
        for source, words in refused.items():
            browser.choose(source)
            browser.wait(f"document.getElementById('notice').innerText.includes({words!r})")
            assert browser.run("document.documentElement.dataset.source") == "sample"
            stream(browser)
            assert is_negative(browser)
            browser.screenshot(tmp_path / f"{source}.png")
        assert browser.complaints == []


def test_a_preset_is_applied_and_marked(browser: Browser, page_server: Any) -> None:
    browser.open(page_server.url)
    stream(browser, 5)
    browser.run("document.querySelector('[data-prompt=\"photographic negative\"]').click()")
    browser.wait("document.getElementById('output-caption').textContent.includes('negative')")
    stream(browser)
    assert is_negative(browser)
    assert browser.run("document.querySelectorAll('#presets [aria-pressed=true]').length") == 1
    assert browser.run("document.getElementById('prompt').value") == "photographic negative"


def test_strength_mixes_the_input_back_in(browser: Browser, page_server: Any) -> None:
    browser.open(f"{page_server.url}/?prompt=negative")
    stream(browser, 5)
    browser.run(
        "(() => { const s = document.getElementById('strength'); s.value = 0;"
        "s.dispatchEvent(new Event('input')); })()"
    )
    browser.wait("document.getElementById('strength-value').textContent === '0 %'")
    stream(browser, 10)
    assert is_original(browser)


def set_value(browser: Browser, name: str, value: Any, event: str) -> None:
    browser.run(
        f"(() => {{ const e = document.getElementById({name!r}); e.value = {value!r};"
        f"e.dispatchEvent(new Event({event!r})); }})()"
    )


def effective(browser: Browser, field: str, value: Any) -> None:
    """Waits until the server says that a parameter has this value."""
    browser.wait(f"globalThis.effective?.[{field!r}] === {json.dumps(value)}")


def test_every_setting_reaches_the_server(browser: Browser, page_server: Any) -> None:
    browser.open(f"{page_server.url}/?prompt=negative")
    stream(browser, 5)
    # what the server answers is caught on its way to the page
    browser.run(
        "(() => { const parse = JSON.parse; JSON.parse = (text) => { const m = parse(text);"
        "if (m?.type === 'params_ack') globalThis.effective = m.effective; return m; }; })()"
    )
    browser.run("document.getElementById('more').open = true")
    set_value(browser, "seed", "7", "change")
    effective(browser, "seed", 7)
    browser.run("document.querySelector('[data-steps=\"1\"]').click()")
    effective(browser, "steps", 1)
    browser.wait("document.querySelector('[data-steps=\"1\"]').ariaPressed === 'true'")
    set_value(browser, "sharpen", "50", "input")
    effective(browser, "sharpen", 0.5)
    set_value(browser, "stabilise", "100", "input")
    effective(browser, "stabilise", 1)
    browser.run("document.getElementById('skip-still').click()")
    effective(browser, "skip_still", True)
    browser.run("document.getElementById('motion-noise').click()")
    effective(browser, "motion_noise", True)
    stream(browser)
    assert is_negative(browser)


def test_the_codec_changes_while_the_session_goes_on(browser: Browser, page_server: Any) -> None:
    browser.open(f"{page_server.url}/?prompt=negative")
    stream(browser, 5)
    for codec in ("h264", "jpeg"):
        browser.run(f"document.querySelector('[data-codec={codec}]').click()")
        browser.wait("document.getElementById('status-text').textContent === 'Live'")
        stream(browser)
        assert is_negative(browser)
    assert page_server.get_json("/api/info")["sessions"]["active"] == 1
    assert browser.complaints == []


def test_the_module_can_be_used_by_a_strangers_page(browser: Browser, page_server: Any) -> None:
    """As its first lines say: a session, a video, and what to do with each frame."""
    browser.open(f"{page_server.url}/?prompt=original")
    stream(browser, 5)
    browser.run("""(async () => {
        const { Session, capture } = await import("/lsd.js");
        const session = new Session("/ws");
        globalThis.shades = [];
        session.addEventListener("frame", async ({ detail: frame }) => {
            const blob = new Blob([frame.payload], { type: "image/jpeg" });
            const picture = await createImageBitmap(blob);
            shades.push(picture.width);
            session.acknowledge(frame);
        });
        session.setParams({ prompt: "negative" });
        session.open();
        const video = Object.assign(document.createElement("video"), { muted: true, loop: true });
        video.src = "/sample.mp4";
        await video.play();
        const stop = capture(session, video);
        globalThis.leave = () => { stop(); session.close(); };
    })()""")
    browser.wait("shades.length >= 8 && shades.every((width) => width === 64)")
    browser.run("leave()")
    wait_until(lambda: page_server.get_json("/api/info")["sessions"]["active"] == 1)
    stream(browser)
    assert browser.complaints == []


def test_a_playlist_runs_by_itself(browser: Browser, page_server: Any) -> None:
    browser.open(f"{page_server.url}/?prompt=original")
    stream(browser, 5)
    browser.run("document.getElementById('queue-seconds').value = '1'")
    for text in ("negative", "original"):
        browser.run(f"document.getElementById('prompt').value = {text!r}")
        browser.run("document.getElementById('queue-add').click()")
    assert browser.run("document.querySelectorAll('#queue-items li').length") == 2
    browser.run("document.getElementById('queue-play').click()")
    for text in ("negative", "original", "negative"):  # and round again
        browser.wait(f"document.getElementById('output-caption').textContent === {text!r}")
    browser.run("document.querySelector('[data-go=\"0\"]').click()")
    browser.run("document.getElementById('queue-play').click()")
    apply_prompt(browser, "negative")
    assert is_negative(browser)
    browser.run("document.getElementById('queue-clear').click()")
    assert browser.run("document.getElementById('playlist').hidden")


def test_what_is_drawn_can_be_recorded(browser: Browser, page_server: Any, tmp_path: Path) -> None:
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.open(f"{page_server.url}/?prompt=negative")
    stream(browser, 5)
    browser.press("r")
    browser.wait("!document.getElementById('recording').hidden")
    stream(browser, 20)
    browser.press("r")
    browser.wait("Number(document.documentElement.dataset.recorded) > 500")
    wait_until(lambda: [p for p in tmp_path.iterdir() if p.suffix in (".webm", ".mp4")])
    (path,) = (p for p in tmp_path.iterdir() if p.suffix in (".webm", ".mp4"))
    with av.open(str(path)) as recorded:
        assert sum(1 for _ in recorded.decode(video=0)) > 1


def test_the_clean_view_is_the_picture_alone(
    browser: Browser, page_server: Any, tmp_path: Path
) -> None:
    browser.look(1280, 720, "light")
    browser.open(f"{page_server.url}/?clean&prompt=negative")
    stream(browser, 5)
    assert browser.run("document.getElementById('prompt').offsetParent === null")
    box = browser.run("[...Object.values(document.getElementById('output')"
                      ".getBoundingClientRect().toJSON())]")  # fmt: skip
    assert box[3] == pytest.approx(720, abs=1)
    browser.screenshot(tmp_path / "clean.png")
    browser.press("Escape")
    browser.wait("document.getElementById('prompt').offsetParent !== null")
    browser.press("f")
    browser.wait("document.getElementById('prompt').offsetParent === null")
    assert browser.run("document.documentElement.scrollWidth") <= 1280


def test_one_who_waits_sees_the_position_and_is_let_in(
    browser: Browser, start_server: Callable[..., Any], clip: Path, tmp_path: Path
) -> None:
    server = start_server({"sample": str(clip), "max_sessions": 1})
    with connect(server.socket_url, subprotocols=[Subprotocol("lsd.v1")]) as other:
        other.send(json.dumps({"type": "hello", "version": 1, "codecs": ["jpeg"]}))
        assert json.loads(other.recv())["type"] == "welcome"
        browser.open(server.url)
        browser.wait("document.getElementById('veil').innerText.includes('Number 1 in the queue')")
        browser.screenshot(tmp_path / "queued.png")
    stream(browser)
    browser.open("about:blank")


def test_a_page_without_a_token_asks_for_one(
    browser: Browser, start_server: Callable[..., Any], clip: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"0123456789abcdef")
    server = start_server({"sample": str(clip), "token_secret": str(secret)})
    browser.open(server.url)
    browser.wait("!document.getElementById('token-form').hidden")
    assert "token" in browser.run("document.getElementById('veil').innerText").lower()
    browser.screenshot(tmp_path / "token.png")
    token = issue_token(secret.read_bytes(), valid_s=60, max_s=60)
    set_value(browser, "token", token, "input")
    browser.run("document.querySelector('#token-form button').click()")
    stream(browser)
    browser.open("about:blank")


def test_the_divider_moves_by_keyboard(browser: Browser, page_server: Any) -> None:
    browser.open(f"{page_server.url}/?view=wipe")
    stream(browser, 5)
    browser.run("document.getElementById('divider').focus()")
    browser.press("Home")
    browser.press("ArrowRight")
    assert browser.run("document.getElementById('divider').getAttribute('aria-valuenow')") == "2"


def test_pause_stops_the_pictures(browser: Browser, page_server: Any) -> None:
    browser.open(page_server.url)
    stream(browser, 5)
    browser.run("document.getElementById('pause').click()")
    browser.wait("document.getElementById('status-text').textContent === 'Paused'")
    time.sleep(0.5)  # what is in flight still arrives
    before = frames(browser)
    time.sleep(1)
    assert frames(browser) == before
    browser.run("document.getElementById('pause').click()")
    stream(browser)


@pytest.mark.parametrize(
    ("error", "words"),
    [("NotAllowedError", "refused"), ("NotFoundError", "No camera"), ("NotReadableError", "use")],
)
def test_a_camera_that_cannot_be_had_is_explained_and_the_sample_goes_on(
    browser: Browser, page_server: Any, error: str, words: str
) -> None:
    browser.open(page_server.url)
    stream(browser, 5)
    browser.run(
        "navigator.mediaDevices.getUserMedia = () =>"
        f" Promise.reject(new DOMException('no', {error!r}))"
    )
    browser.run("document.querySelector('[data-source=webcam]').click()")
    browser.wait(f"document.getElementById('notice').innerText.includes({words!r})")
    assert browser.run("document.documentElement.dataset.source") == "sample"
    stream(browser, 5)


def test_an_empty_or_refused_prompt_is_explained(browser: Browser, page_server: Any) -> None:
    browser.open(page_server.url)
    stream(browser, 5)
    browser.run("document.getElementById('prompt').value = ' '")
    browser.run("document.getElementById('apply').click()")
    browser.wait("document.getElementById('prompt-error').textContent.includes('Say what')")
    browser.run("document.getElementById('prompt').value = 'unspeakable'")
    browser.run("document.getElementById('apply').click()")
    browser.wait("document.getElementById('prompt-error').textContent.includes('no words')")


def test_warming_up_full_and_lost_are_shown(
    browser: Browser, start_server: Callable[..., Any], clip: Path, tmp_path: Path
) -> None:
    options = {"sample": str(clip), "max_sessions": 1, "queue": 0, "port": free_port()}
    server = start_server(options, ready=False, FAKE_WARM_UP_S="6")
    server.url = f"http://localhost:{options['port']}"

    def answers() -> bool:
        try:
            return server.get("/healthz")[0] == 200
        except OSError:
            return False

    wait_until(answers)
    assert server.get("/readyz")[0] == 503
    browser.open(server.url)
    browser.wait("document.getElementById('veil').innerText.includes('compiling')")
    browser.screenshot(tmp_path / "warming.png")
    server.wait_ready()
    stream(browser)

    browser.open("about:blank")
    wait_until(lambda: server.get_json("/api/info")["sessions"]["active"] == 0)
    with connect(server.socket_url, subprotocols=[Subprotocol("lsd.v1")]) as other:
        other.send(json.dumps({"type": "hello", "version": 1, "codecs": ["jpeg"]}))
        assert json.loads(other.recv())["type"] == "welcome"
        browser.open(server.url)
        browser.wait("document.getElementById('veil').innerText.includes('The server is full')")
        browser.screenshot(tmp_path / "full.png")
    browser.run("document.getElementById('veil-button').click()")
    stream(browser)

    server.end()
    browser.wait("/Connection lost|No server/.test(document.getElementById('veil').innerText)")
    browser.screenshot(tmp_path / "lost.png")
    again = start_server(options)
    browser.run("document.getElementById('veil-button').click()")
    stream(browser)
    again.end()
    browser.open("about:blank")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
@pytest.mark.parametrize("view", ["side", "wipe", "output"])
def test_no_view_overflows_its_window(
    browser: Browser,
    page_server: Any,
    tmp_path: Path,
    scheme: str,
    width: int,
    height: int,
    view: str,
) -> None:
    browser.look(width, height, scheme)
    browser.open(f"{page_server.url}/?view={view}")
    stream(browser, 5)
    browser.screenshot(tmp_path / "page.png")
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.complaints == []
