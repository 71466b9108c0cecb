#!/usr/bin/env bash
# transformers 5.x: a BERT folder whose vocab.txt was not copied along.
#
# One would expect AutoTokenizer.from_pretrained to refuse. It gives a tokenizer that knows the five special tokens
# alone: every word becomes [UNK], without an error or a warning, and a RoBERTa tokenizer drops every word. Whoever copies config.json and model.safetensors by hand, as people do who work
# without network on transcripts of interviews, gets embeddings that say nothing but the number of words.
# Seen on 2026-11-30.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "transformers==5.23.0" "tokenizers==0.23.3"

mkdir "$place/bert" "$place/roberta"
echo '{"model_type": "bert"}' > "$place/bert/config.json"
echo '{"model_type": "roberta"}' > "$place/roberta/config.json"

"$place/venv/bin/python" - "$place" <<'PYTHON'
import sys
import warnings

warnings.simplefilter("error")
from transformers import AutoTokenizer

text, seen = "I have not slept well for two weeks", {}
for kind in ("bert", "roberta"):
    tokenizer = AutoTokenizer.from_pretrained(f"{sys.argv[1]}/{kind}", local_files_only=True)
    seen[kind] = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    print(f"{kind}: {len(tokenizer)} tokens known, {text!r} -> {seen[kind]}")
if seen["bert"] != ["[CLS]", *["[UNK]"] * 8, "[SEP]"] or seen["roberta"] != ["<s>", "</s>"]:
    sys.exit("no longer so: the words are not all unknown")
PYTHON
