"""The HTTP server of one local voice, in OpenAI's speech dialect. It runs in a process of its own.

    POST /v1/audio/speech   {model, input, voice?, response_format? (wav, pcm), speed?, language? (ja, en)}
                            -> audio/wav (mono, 16 bit), or audio/L16;rate=R (little-endian, as OpenAI's pcm)
    GET  /health            open to all
    GET  /props             the voices, for who has the key

It speaks one request at a time; the others wait. Its log tells the start and the end of each, never a text.
"""

from __future__ import annotations

import hmac
import io
import json
import select
import socket
import threading
import wave
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any, Final

from llmbench.providers.embedded_server import REQUEST_ENDED, REQUEST_STARTED
from llmbench.providers.voice_engines import Engine, open_engine
from llmbench.providers.voice_request import Ask, Refused, read_ask

#: A text of the most characters, each escaped, and room for the other fields.
_MOST_BODY_BYTES: Final = 65_536
_IDLE_S: Final = 600.0
#: Spoken once at the start, so that the first request pays for no loading.
_FIRST_WORDS: Final = (("ja", "あ。"), ("en", "Ah."))


def start_engine(config: dict[str, Any], api_key: str) -> VoiceServer:
    """Load the voice and start its HTTP server on the loopback interface.

    Args:
        config: name, version, model_path, and settings {port, n_threads}.
        api_key: the key to ask for.

    Raises:
        ImportError: a package of the voice is missing.
        OSError: the port is taken.
        RuntimeError: the weights or the dictionary cannot be loaded.
    """
    engine = open_engine(config["name"], Path(config["model_path"]), config["settings"]["n_threads"])
    for language, words in _FIRST_WORDS:
        voice = next(name for name, languages in engine.voices.items() if language in languages)
        for _ in engine.speak(words, language, voice, 1.0):
            pass
    server = VoiceServer(config, api_key, engine)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


class VoiceServer(ThreadingHTTPServer):
    """A running server.

    Attributes:
        listening_address: `http://127.0.0.1:port`.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, config: dict[str, Any], api_key: str, engine: Engine) -> None:
        super().__init__(("127.0.0.1", config["settings"]["port"]), _Exchange)
        self.name: str = config["name"]
        self.version: str = config["version"]
        self.engine = engine
        self.listening_address = f"http://127.0.0.1:{self.server_port}"
        self._key = api_key.encode()
        self._speaking = threading.Lock()

    def server_bind(self) -> None:
        """Bind without asking a name server what this machine is called, as the base class does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", int(self.server_address[1])

    def is_let_in(self, authorization: str) -> bool:
        """Whether a request's authorisation is the key."""
        return hmac.compare_digest(authorization.encode(), b"Bearer " + self._key)

    def speak(self, ask: Ask, client: socket.socket) -> bytes | None:
        """The samples of a request, or None when its client left meanwhile."""
        with self._speaking:
            print(f"voice {REQUEST_STARTED}", flush=True)
            try:
                spoken = []
                for part in self.engine.speak(ask.text, ask.language, ask.voice, ask.speed):
                    if _is_gone(client):
                        return None
                    spoken.append(part)
                return b"".join(spoken)
            finally:
                print(f"voice {REQUEST_ENDED}", flush=True)


def _is_gone(client: socket.socket) -> bool:
    """Whether the other end has closed the connection."""
    if not select.select([client], [], [], 0)[0]:
        return False
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


class _Exchange(BaseHTTPRequestHandler):
    """One connection."""

    server: VoiceServer
    protocol_version = "HTTP/1.1"
    server_version = "llmbench-voice"
    timeout = _IDLE_S

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer_json(200, {"status": "ok"})
        elif not self._is_let_in():
            return
        elif self.path == "/props":
            voices = {name: list(languages) for name, languages in self.server.engine.voices.items()}
            facts = {"model": self.server.name, "version": self.server.version, "voices": voices}
            self._answer_json(200, facts)
        else:
            self._refuse(Refused(f"there is no {self.path[:60]!r} here", code="not_found", status=404))

    def do_POST(self) -> None:
        body = self._body()
        if body is None or not self._is_let_in():
            return
        if self.path != "/v1/audio/speech":
            self._refuse(Refused(f"there is no {self.path[:60]!r} here", code="not_found", status=404))
            return
        try:
            ask = read_ask(body, self.server.name, self.server.engine.voices)
            self._check_readable(ask)
        except Refused as refused:
            self._refuse(refused)
        else:
            self._speak(ask)

    def _check_readable(self, ask: Ask) -> None:
        """Refuse a text with characters that would be left out, before any of it is spoken."""
        if unread := self.server.engine.unreadable(ask.text, ask.language):
            raise Refused(
                f"no reading is known of {unread[:20]!r} in input: write those words in kana, or with "
                "characters that Japanese uses",
                code="unsupported_character",
                param="input",
            )

    def _speak(self, ask: Ask) -> None:
        is_spoken = False
        try:
            samples = self.server.speak(ask, self.connection)
            is_spoken = True
        finally:
            if not is_spoken:  # the log has the reason
                self.close_connection = True
                failed = Refused("the voice failed; see its server.log", code="voice_failed", status=500)
                self._refuse(failed)
        if samples is None:
            self.close_connection = True
        elif not samples:
            self._refuse(Refused("input has nothing that can be said", code="empty_input", param="input"))
        else:
            rate_hz = self.server.engine.rate_hz(ask.language)
            kind = "audio/wav" if ask.format == "wav" else f"audio/L16;rate={rate_hz}"
            self._answer(200, kind, wav_file(samples, rate_hz) if ask.format == "wav" else samples)

    def _body(self) -> bytes | None:
        """The request's body, or None when it was refused unread."""
        length = self.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) <= _MOST_BODY_BYTES:
            return self.rfile.read(int(length))
        self.close_connection = True
        message = f"the body has no length, or is longer than {_MOST_BODY_BYTES} bytes"
        self._refuse(Refused(message, code="body_too_large", status=413))
        return None

    def _is_let_in(self) -> bool:
        if self.server.is_let_in(self.headers.get("authorization", "")):
            return True
        self._refuse(Refused("the key is missing or wrong", code="invalid_api_key", status=401))
        return False

    def _refuse(self, refused: Refused) -> None:
        self._answer_json(refused.status, refused.body)

    def _answer_json(self, status: int, value: Any) -> None:
        self._answer(status, "application/json", json.dumps(value, ensure_ascii=False).encode())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Nothing: a path may hold anything."""


def wav_file(samples: bytes, rate_hz: int) -> bytes:
    """A WAV file of 16-bit mono samples."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate_hz)
        written.writeframes(samples)
    return file.getvalue()
