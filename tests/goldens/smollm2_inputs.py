"""What SmolLM2 is asked, by the script that writes the goldens and by the test that reads them."""

NEW_TOKENS = 64
LOGIT_STRIDE = 96

PROMPTS = (
    "def fibonacci(n):\n    if n <",
    "import numpy as np\n\n\ndef softmax(x):\n",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(",
    "# Return True if the string is a palindrome.\ndef is_palindrome(s):\n",
    "for (int i = 0; i < 10; i++) {\n\tprintf(",
    "The capital of France is",
    "Photosynthesis is the process by which",
    "Once upon a time, in a village by the sea,",
    "<|im_start|>user\nWrite a Python function that adds two numbers.<|im_end|>\n"
    "<|im_start|>assistant\n",
)

TOKENIZER_CORPUS = (
    "plain words, and punctuation; (brackets) [too] {and} <these>!?",
    "tabs\there\t\tand\t\t\tthere\n\tif x:\n\t\treturn y",
    "0 1 12 123 1234567890 3.14159 1e-10 0xFF 2024-01-31",
    "x=10;y = 20\nz[3]=4*5",
    "emoji 🙂 and 👩‍👩‍👧‍👦 family, flag 🇫🇷, star ⭐",
    "long" + " " * 40 + "spaces" + " " * 3 + "and more" + " " * 7,
    "trailing spaces   \n\n\n   leading spaces",
    "naïve café Zürich — “quotes” … ½ ² Ωμέγα 北京 東京 한국어 العربية हिन्दी",
    "def f(a, b=None, *args, **kwargs) -> dict[str, int]:\n    return {'a': a, \"b\": b}\n",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|> <file_sep>",
    "I'll we've don't it's THEY'RE",
    "\r\nwindows\r\nlines\r\n \u00a0non-breaking\u200bzero-width",
    "mixed123abc456 v2.0.1 item#7 a1b2c3",
    "",
)

# The digit of a run of white space: GGUF's "smollm" splits digits off first, as the model was
# trained, which the conversion in transformers leaves out.
SPACES_BEFORE_DIGITS = (
    "x =    12",
    "if a:\n    1\n        22",
)
