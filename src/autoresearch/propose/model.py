"""
One question to one model, through pydantic-ai: what it answered and what that cost, or how it failed.

The only module that knows the library. Keys come from the person's environment; no message that leaves here holds one.
"""

import asyncio
import inspect
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar

import genai_prices
import httpx2
from msgspec import Struct
from pydantic_ai import exceptions as failures
from pydantic_ai.direct import model_request
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, UserPromptPart
from pydantic_ai.models import Model as LibraryModel
from pydantic_ai.models import ModelRequestParameters, infer_model
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.providers import Provider, infer_provider_class
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from autoresearch.errors import Stopped, StudyError
from autoresearch.models import Price
from autoresearch.propose.answers import plain

LARGEST_BODY = 16 << 20  # bytes of an answer as it comes; four times what is read of one
LARGEST_PACKED = 64 << 10  # the same, packed: it may unpack to a thousand times as much
CONNECT_S = 15.0
LOOK_S = 0.2  # how often a call looks up whether it is to end
CHARACTERS = 4  # of text, to a token, where nobody has counted
OLLAMA = "http://127.0.0.1:11434/v1"
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)

T = TypeVar("T")
Kind = Literal[
    "limited",  # too many questions for now; later it will answer
    "trouble",  # the network or the server; later it may answer
    "refused",  # it will answer none: the key, the name, the credit
    "rejected",  # it will not answer this one, as it is
    "unusable",  # it answered, or took its time, and nothing came of it
]


class Question(Struct, frozen=True):
    """
    Words of ours and of the model by turns, ours first and last. The answer is to be JSON of this schema, with at most
    so many tokens.
    """

    instructions: str
    turns: tuple[str, ...]
    schema: dict[str, Any]
    tokens: int

    def more(self, answer: str, reply: str) -> "Question":
        """The same, with what the model answered and what we say to it."""
        return Question(self.instructions, (*self.turns, answer, reply), self.schema, self.tokens)

    @property
    def expected_tokens(self) -> int:
        """What it will count as, by its length."""
        return (len(self.instructions) + len(str(self.schema)) + sum(map(len, self.turns))) // CHARACTERS


class Reply(Struct, frozen=True):
    """What a model answered. `cut`: it had more to say than it was given room for."""

    text: str
    input_tokens: int
    output_tokens: int
    dollars: float
    wall_s: float
    cut: bool = False


class CallFailed(Exception):
    """`after_s`: when to ask again, if we were told. `billed`: it may cost money although nothing came of it."""

    def __init__(self, kind: Kind, why: str, after_s: float | None = None, billed: bool = False) -> None:
        super().__init__(why)
        self.kind, self.why, self.after_s, self.billed = kind, why, after_s, billed


class _TooLong(Exception):
    pass


class Model:
    """
    A model by its name, "provider:name".

    Raises (when made):
        StudyError: there is no such provider, or its key or package is missing; the message says what to do.
    """

    def __init__(self, name: str, address: str | None = None, key: str | None = None, price: Price | None = None):
        self.name, self.address, self.key, self.price = name, address, key, price
        self.provider, _, self.called = name.partition(":")
        if self.provider == "ollama" and address is None:
            self.address = os.environ.get("OLLAMA_BASE_URL") or OLLAMA
        self._without_schema = False  # its server takes no schema, so it is told in words
        asyncio.run(self._try_to_make())

    def __str__(self) -> str:
        return f"{self.name} at {self.address}" if self.address else self.name

    # -- its price -------------------------------------------------------------------------------------

    def cost(self, input_tokens: float, output_tokens: float) -> float | None:
        """Dollars for a call of so many tokens; None where nobody knows."""
        if self.price is not None:
            return self.price.dollars(input_tokens, output_tokens)
        usage = genai_prices.Usage(input_tokens=int(input_tokens), output_tokens=int(output_tokens))
        try:
            return float(genai_prices.calc_price(usage, self.called, provider_id=self._in_table).total_price)
        except (LookupError, ValueError):
            return None

    @property
    def _in_table(self) -> str:
        """The provider's name in the library's price table."""
        return self.provider.partition("-")[0] if self.provider.startswith(("openai-", "google-")) else self.provider

    def _dollars(self, response: ModelResponse, input_tokens: int, output_tokens: int) -> float:
        if self.price is None:
            try:
                return float(response.cost().total_price)  # it knows of cached tokens
            except (LookupError, ValueError, AssertionError):
                pass
        return self.cost(input_tokens, output_tokens) or 0.0

    # -- asking ----------------------------------------------------------------------------------------

    def ask(self, question: Question, timeout_s: float, stopped: Callable[[], bool] = lambda: False) -> Reply:
        """
        One call.

        Raises:
            CallFailed: nothing came of it.
            Stopped: `stopped` said so while the call was under way.
        """
        began = time.monotonic()
        try:
            response = self._call(question, timeout_s, stopped)
        except CallFailed as failed:
            # Some servers know no schemas. They say so at once, and for nothing.
            if failed.kind != "rejected" or self._without_schema or "schema" not in _said(failed):
                raise
            self._without_schema = True
            response = self._call(question, timeout_s, stopped)
        text = _text(response)
        usage = response.usage
        told = bool(usage.input_tokens or usage.output_tokens) and not usage.unmeasured_requests
        sent = usage.input_tokens if told else question.expected_tokens
        got = usage.output_tokens if told else len(text) // CHARACTERS
        return Reply(
            text,
            sent,
            got,
            self._dollars(response, sent, got) if told else self.cost(sent, got) or 0.0,
            round(time.monotonic() - began, 3),
            cut=response.finish_reason == "length",
        )

    def _call(self, question: Question, timeout_s: float, stopped: Callable[[], bool]) -> ModelResponse:
        try:
            return asyncio.run(_until(stopped, self._request(question, timeout_s)))
        except (CallFailed, Stopped):
            raise
        except Exception as error:  # thirty providers' packages raise what they like; a night does not end at it
            raise self._failure(error, timeout_s) from error

    async def _request(self, question: Question, timeout_s: float) -> ModelResponse:
        settings = ModelSettings(
            max_tokens=question.tokens, timeout=timeout_s, request_timeout=timeout_s, max_retries=0
        )
        async with self._made() as model:
            parameters, spoken = self._parameters(model, question)
            messages: list[ModelMessage] = [
                ModelResponse(parts=[TextPart(turn)]) if place % 2 else ModelRequest(parts=[UserPromptPart(turn)])
                for place, turn in enumerate(question.turns)
            ]
            for message in messages:
                if isinstance(message, ModelRequest):
                    message.instructions = f"{question.instructions}{spoken}"
            return await model_request(
                model, messages, model_settings=settings, model_request_parameters=parameters, instrument=False
            )

    def _parameters(self, model: LibraryModel, question: Question) -> tuple[ModelRequestParameters, str]:
        """How this model is held to a schema, and what it has to be told of it in words."""
        # Providers' strict modes know no lengths; servers of one's own do, and their models ramble.
        strict = None if self.address else True
        if not self._without_schema and model.profile.get("supports_json_schema_output", False):
            wanted = OutputObjectDefinition(json_schema=question.schema, name="answer", strict=strict)
            return ModelRequestParameters(output_mode="native", output_object=wanted), ""
        if not self._without_schema and model.profile.get("supports_tools", True):
            tool = ToolDefinition(
                name="answer",
                description="Give your answer.",
                parameters_json_schema=question.schema,
                kind="output",
                strict=strict,
            )
            return ModelRequestParameters(output_mode="tool", output_tools=[tool], allow_text_output=False), ""
        return (
            ModelRequestParameters(),
            f"\n\nAnswer with one JSON object of this schema, and nothing else:\n{question.schema}",
        )

    # -- making it -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _made(self) -> AsyncIterator[LibraryModel]:
        """
        The library's model, with a client of its own: made for each call, since a client belongs to one thread's loop.
        """
        hooks: dict[str, list[Any]] = {"response": [_bound]}
        timeout = httpx2.Timeout(None, connect=CONNECT_S)
        plainly = {"Accept-Encoding": "identity"}
        async with httpx2.AsyncClient(timeout=timeout, event_hooks=hooks, headers=plainly) as client:
            if self.address and self.provider in ("openai", "openai-chat"):
                service = OpenAICompatibleProvider(
                    "openai", base_url=self.address, api_key=self._secret(), http_client=client
                )
                yield OpenAIChatModel(self.called, provider=service)
                return
            async with infer_model(self.name, lambda name: self._provider(name, client)) as model:
                yield model

    def _provider(self, name: str, client: httpx2.AsyncClient) -> Provider[Any]:
        made = infer_provider_class(name)
        takes = inspect.signature(made.__init__).parameters
        given: dict[str, Any] = {"http_client": client} if "http_client" in takes else {}
        if self.address:
            if "base_url" not in takes:
                raise StudyError(
                    f"study.toml: propose.address cannot be used with {name}: models there have one address"
                )
            given["base_url"] = self.address
        if self.address or self.key:
            # Else the library would send the provider's usual key to whatever address this is.
            given["api_key"] = self._secret() or "none"
        return made(**given)

    def _secret(self) -> str | None:
        if self.key is None:
            return None
        if not (secret := os.environ.get(self.key, "").strip()):
            raise StudyError(
                f"study.toml: propose.key names {self.key}, and that variable is not set in your environment: "
                f"`export {self.key}=...` before you start, or remove `key`"
            )
        return secret

    async def _try_to_make(self) -> None:
        try:
            async with self._made():
                pass
        except StudyError:
            raise
        except ImportError as error:
            raise StudyError(
                f"propose.model = {self.name!r} needs a package that is not installed: {scrubbed(str(error))}"
            ) from None
        except Exception as error:  # each provider's package has errors of its own
            said = scrubbed(str(error))
            if missing := re.search(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", said):
                hint = f"{missing[0]} is not set in your environment: `export {missing[0]}=...` before you start"
                raise StudyError(f"propose.model = {self.name!r}: {hint} ({said})") from None
            raise StudyError(f"propose.model = {self.name!r} cannot be used: {said}") from None

    def _failure(self, error: Exception, timeout_s: float) -> CallFailed:
        """What a failure of the library's means to us."""
        said = scrubbed(str(error))
        after = getattr(error, "retry_after", None)
        match error:
            case _ if _is_caused_by(error, _TooLong):
                return CallFailed("unusable", f"its answer is longer than {LARGEST_BODY >> 20} MB", billed=True)
            case failures.ModelQuotaExceededError():
                return CallFailed("refused", f"its account has no credit left: {said}")
            case failures.ModelRateLimitError():
                return CallFailed("limited", f"it takes no more questions for now: {said}", after)
            case failures.ModelAuthenticationError():
                return CallFailed("refused", f"it does not take the key: {said}")
            case failures.ModelNotFoundError():
                return CallFailed("refused", f"there is no such model, or no such address: {said}")
            case failures.ModelRequestRejectedError():
                return CallFailed("rejected", f"it does not take the question: {said}")
            case failures.ModelUnavailableError() | failures.ModelServerError():
                return CallFailed("trouble", f"its server has trouble: {said}", after)
            case failures.ModelConnectionError(phase="connect" | "pool" | "write"):
                return CallFailed("trouble", f"it cannot be reached: {said}")
            case failures.ModelTimeoutError() | failures.ModelRequestTimeout():
                return CallFailed(
                    "unusable", f"it gave no answer within {timeout_s:g} s (propose.timeout_s)", billed=True
                )
            case failures.ModelConnectionError():
                return CallFailed("trouble", f"its answer broke off: {said}", billed=True)
            case failures.UnexpectedModelBehavior():
                return CallFailed("unusable", f"what it sent cannot be read: {said}", billed=True)
            case failures.UserError():
                return CallFailed("refused", said)
        return CallFailed("trouble", f"{type(error).__name__}: {said}", after, billed=True)


async def _until(stopped: Callable[[], bool], asked: Awaitable[T]) -> T:
    """What is asked for, unless the person wants everything to end first."""
    task = asyncio.ensure_future(asked)
    while not (await asyncio.wait({task}, timeout=LOOK_S))[0]:
        if stopped():
            task.cancel()
            await asyncio.wait({task})
            raise Stopped("ended by the person while a model was asked")
    return task.result()


async def _bound(response: httpx2.Response) -> None:
    """Refuse to read more of an answer than an honest one has."""
    packed = response.headers.get("content-encoding", "identity") != "identity"
    response.stream = _Bounded(response.stream, LARGEST_PACKED if packed else LARGEST_BODY)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: Any, most: int) -> None:
        self.stream, self.left = stream, most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self.stream:
            self.left -= len(part)
            if self.left < 0:
                raise _TooLong
            yield part

    async def aclose(self) -> None:
        await self.stream.aclose()


def _text(response: ModelResponse) -> str:
    """The answer: what was put into the tool, else what was said."""
    for part in response.parts:
        if isinstance(part, ToolCallPart):
            return part.args_as_json_str()
    return response.text or ""


def scrubbed(text: str) -> str:
    """One line without control characters, and without anything that the environment holds as a secret."""
    secrets = {value for name, value in os.environ.items() if _SECRET.search(name) and len(value) >= 6}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return plain(text) or "no reason given"


def _said(failed: CallFailed) -> str:
    return f"{failed.why} {failed.__cause__}".lower().replace("response_format", "schema").replace("json", "schema")


def _is_caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None
