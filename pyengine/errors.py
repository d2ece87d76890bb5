"""Every error a person can meet: a code, facts, and a message that says what, got, wanted and the
next step."""
from contextlib import contextmanager

# What ends a device, and no model or request: on another device the same may succeed.
RECOVERABLE = ("E_DEVICE_LOST", "E_GPU", "E_NO_ANSWER", "E_OUT_OF_MEMORY")


class EngineError(Exception):
    """An error with a `code` (stable, for programs), `facts` (values), `message` and `next_step`
    (for people).

    Raises `KeyError` when a fact that the code's message needs is missing: a message with holes is
    a bug here.
    """

    def __init__(self, code, **facts):
        what, next_step = MESSAGES[code]
        self.code = code
        self.facts = facts
        self.message = what.format(**facts)
        self.next_step = next_step.format(**facts)
        super().__init__(f"{code}: {self.message} {self.next_step}")

    def to_dict(self):
        """The form that crosses to JavaScript and to `--json` output."""
        facts = {k: v if isinstance(v, (int, float, str, bool, list)) or v is None else str(v)
                 for k, v in self.facts.items()}
        return {
            "code": self.code,
            "message": self.message,
            "next_step": self.next_step,
            "facts": facts,
        }


@contextmanager
def naming_tensor(tensor):
    """Gives an `E_UNSUPPORTED_TENSOR` raised inside the name that the code below does not know."""
    try:
        yield
    except EngineError as error:
        if error.code != "E_UNSUPPORTED_TENSOR":
            raise
        raise EngineError(error.code, tensor=tensor, detail=error.facts["detail"]) from None


# code: (what happened with got and wanted, next step)
MESSAGES = {
    "E_NO_WEBGPU": (
        "This browser offers no WebGPU adapter ({reason}).",
        "Use Safari 26 or later, or a current Chrome or Edge, and check that graphics acceleration "
        "is on.",
    ),
    "E_NO_ADAPTER": (
        "This machine offers no GPU that Jird can use natively ({reason}).",
        "Install a Vulkan driver (Mesa's lavapipe needs no GPU), or add --device numpy.",
    ),
    "E_INSECURE_CONTEXT": (
        "{url} is not a secure context, so the browser hides WebGPU and storage.",
        "Open it over https or as http://localhost; python3 build.py serve --https sets up https.",
    ),
    "E_NO_MICROPHONE": (
        "No microphone can be used here ({reason}).",
        "Allow it for this site in the browser's settings, or connect one, and try again.",
    ),
    "E_BUSY": (
        "{what} is in use by {owner}.",
        "Wait for it to finish, or close the other tab, and try again.",
    ),
    "E_DEVICE_LOST": (
        "The GPU device was lost ({reason}).",
        "Load the model again; close other heavy tabs if it repeats.",
    ),
    "E_NO_ANSWER": (
        "{what} has not answered for {seconds} seconds, so it was stopped.",
        "Load the model again; if it repeats, restart the browser or choose a smaller model.",
    ),
    "E_OUT_OF_MEMORY": (
        "Not enough memory for {what}: needs {needed} bytes, {available} can be had.",
        "Choose a smaller model or a shorter context, or close other tabs.",
    ),
    "E_QUOTA": (
        "This browser's storage is full: needs {needed} bytes, {available} are free.",
        "Delete a model or free disk space, then try again.",
    ),
    "E_CORRUPT_SHARD": ("{file} is damaged: {detail}.", "Delete this file and fetch it again."),
    "E_NOT_STORED": (
        "{model} is not whole in this browser's storage: {detail}.",
        "Download it, or resume its download.",
    ),
    "E_TRUNCATED": (
        "{file} ends too early: wanted bytes {start} to {end}, it has {size}.",
        "The file is incomplete; fetch it again.",
    ),
    "E_BAD_AUDIO": (
        "The audio cannot be read: {detail}.",
        "Send a recording of speech; the command line takes WAV files, the browser what it plays.",
    ),
    "E_BAD_FILE": (
        "{file} is not a valid {format} file: {detail}.",
        "Check where the file came from and fetch it again.",
    ),
    "E_NO_FILE": (
        "{path} cannot be read: {detail}.",
        "Check the path; a model is a .gguf file or a folder.",
    ),
    "E_UNSUPPORTED_MODEL": (
        "Model type '{model_type}' is not supported; known: {known}.",
        "Choose a model of a supported family.",
    ),
    "E_UNSUPPORTED_CONFIG": (
        "The model's config is not supported: {field} is {got}, wanted {wanted}.",
        "Choose another checkpoint of this family.",
    ),
    "E_UNSUPPORTED_TENSOR": (
        "Tensor '{tensor}' is not supported: {detail}.",
        "Choose a file in a supported encoding.",
    ),
    "E_MISSING_TENSOR": (
        "The checkpoint lacks tensors that the model needs: {missing}.",
        "The file is incomplete or of another model; fetch it again.",
    ),
    "E_UNUSED_TENSOR": (
        "The checkpoint holds tensors that the model does not know: {unused}.",
        "Choose a checkpoint of a supported variant of this family.",
    ),
    "E_NETWORK": (
        "{url} could not be fetched: {detail}.",
        "Check the connection and the address, and try again.",
    ),
    "E_CONTEXT_FULL": (
        "The prompt has {tokens} tokens and the context holds {context}.",
        "Shorten the conversation or choose a longer context.",
    ),
    "E_BAD_REQUEST": (
        "Parameter '{param}' is {got}; wanted {wanted}.",
        "Correct the request and send it again.",
    ),
    "E_UNKNOWN_MODEL": (
        "The model {model} is not loaded here; {loaded} is.",
        "Ask for the loaded model, or load this one first (createEngine or the Models page).",
    ),
    "E_NO_ENGINE": (
        "No open page of {app} has a model loaded.",
        "Open it in a tab and start a model, or call createEngine in a page; then ask again.",
    ),
    "E_NO_ROUTE": (
        "{method} {path} is not part of the API.",
        "Use GET v1/models, POST v1/chat/completions, v1/completions, v1/audio/speech and "
        "v1/audio/transcriptions.",
    ),
    "E_TOO_LARGE": (
        "The request's body is larger than {limit} bytes.",
        "Send less: no context holds that much.",
    ),
    "E_NO_GRAMMAR": (
        "Structured output is not to be had here: {reason}.",
        "Natively it needs Node.js 18 or later; ask without response_format otherwise.",
    ),
    "E_BAD_TEMPLATE": (
        "The model's chat template failed: {detail}.",
        "Use plain completions, or another checkpoint.",
    ),
    "E_NO_TOKENIZER": (
        "{model} carries no tokenizer that Jird can read ({detail}).",
        "Add its tokenizer.json beside the weights.",
    ),
    "E_NO_PACKAGE": (
        "The Python package {package} is not installed here.",
        "Outside the browser Jird needs the packages of a lock: .venv/bin/python -m pip install "
        "--require-hashes -r app/build/test.lock.",
    ),
    "E_BAD_SPEECH": (
        "The voice model's answer is no speech: {detail}.",
        "Ask again, or with another seed; another checkpoint if it repeats.",
    ),
    "E_GPU": (
        "The GPU refused {what}: {detail}.",
        "Report this with your browser and GPU; another browser may work.",
    ),
    "E_INTERNAL": (
        "Something failed inside Jird: {detail}.",
        "Reload the page; report it if it repeats.",
    ),
}
