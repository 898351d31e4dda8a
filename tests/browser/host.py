"""A real widget and the real bundle in a real browser, without Jupyter: one websocket is the comm.

What the widget sends before the page is there is kept and replayed when it opens; the page is shown
after that.
"""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comm
import tornado.web
import tornado.websocket
from comm.base_comm import BaseComm

HERE = Path(__file__).parent


class BridgeComm(BaseComm):
    """The kernel's end of the comm: frames to a websocket."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.lock = threading.Lock()
        self.kept: list[bytes] = []
        self.send_frame: Callable[[bytes], None] | None = None
        super().__init__(*args, **kwargs)

    def publish_msg(
        self,
        msg_type: str,
        data: dict | None = None,
        metadata: dict | None = None,
        buffers: list | None = None,
        **keys: Any,
    ) -> None:
        data = data or {}
        header = {k: data[k] for k in ("state", "buffer_paths", "content") if k in data}
        header["method"] = "open" if msg_type == "comm_open" else data.get("method")
        with self.lock:
            self.kept.append(pack(header, buffers or []))
            if self.send_frame:
                self.send_frame(self.kept[-1])

    def attach(self, send_frame: Callable[[bytes], None] | None) -> None:
        with self.lock:
            self.send_frame = send_frame
            if send_frame:
                for kept in [*self.kept, pack({"method": "replayed"}, [])]:
                    send_frame(kept)


def pack(header: dict, buffers: list) -> bytes:
    parts = [bytes(buffer) for buffer in buffers]
    head = json.dumps({**header, "sizes": [len(part) for part in parts]}, allow_nan=False).encode()
    return struct.pack(">I", len(head)) + head + b"".join(parts)


def unpack(frame: bytes) -> tuple[dict, list[bytes]]:
    (length,) = struct.unpack(">I", frame[:4])
    header = json.loads(frame[4 : 4 + length])
    at, buffers = 4 + length, []
    for size in header.pop("sizes"):
        buffers.append(frame[at : at + size])
        at += size
    return header, buffers


class Page(tornado.web.RequestHandler):
    def get(self) -> None:
        self.set_header("Content-Security-Policy", POLICY)
        self.write((HERE / "page.html").read_text("utf-8"))


POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src data:; connect-src 'self' ws:"
)
"""What a careful host allows: no eval, nothing from elsewhere."""


class Socket(tornado.websocket.WebSocketHandler):
    def open(self) -> None:
        self.application.sockets.add(self)
        loop = asyncio.get_running_loop()

        def send(frame: bytes) -> None:
            loop.call_soon_threadsafe(self._send, frame)

        self.application.widget.comm.attach(send)

    def _send(self, frame: bytes) -> None:
        if self.ws_connection:
            self.write_message(frame, binary=True)

    def on_close(self) -> None:
        self.application.sockets.discard(self)

    def on_message(self, message: bytes) -> None:
        header, buffers = unpack(message)
        header.setdefault("buffer_paths", [])
        if (there := self.application.widget.comm) is not None:
            there.handle_msg({"content": {"data": header}, "buffers": buffers})


class Host:
    """Serves one widget, made in the server's thread as a kernel would make it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._up = threading.Event()
        self._failure: BaseException | None = None
        self.widget: Any = None
        self.url = ""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        if not self._up.wait(20) or self._failure:
            raise RuntimeError("The test host did not start") from self._failure

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        before = comm.create_comm
        comm.create_comm = lambda *args, **kwargs: BridgeComm(*args, **kwargs)
        try:
            self.widget = self._make()
        except BaseException as error:
            self._failure = error
            raise
        finally:
            comm.create_comm = before
            if self._failure:
                self._up.set()
        static = (r"/(host\.js)", tornado.web.StaticFileHandler, {"path": str(HERE)})
        app = tornado.web.Application([(r"/", Page), (r"/ws", Socket), static])
        app.widget, app.sockets = self.widget, set()
        server = app.listen(0, "127.0.0.1")
        port = next(iter(server._sockets.values())).getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        self._up.set()
        await self._stop.wait()
        server.stop()
        for socket in list(app.sockets):
            socket.close()
        await server.close_all_connections()
        while app.sockets:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)

    def close(self) -> None:
        self.widget.comm.attach(None)
        self.widget.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
