#!/usr/bin/env python3
"""Writes template_families.jsonl: chat templates in the manner of well-known model families, rendered by transformers.

    python make_template_families.py      (needs transformers and jinja2; offline)

Each line: {"name", "template", "messages", "add_generation_prompt", and "text" or "error"}. The special tokens are
the starter's. The templates are not copies of the published ones; they use the constructs that those use.
"""
import json
from pathlib import Path

from transformers import AutoTokenizer

HERE = Path(__file__).resolve().parent
TEMPLATES = {
    # namespace, slices, loop variables, string methods, tests
    "qwen": """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step and message.role == "user" and message.content is string and not(message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.multi_step = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in message.content %}
                {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
                {%- set reasoning_content = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    # trim filter, defaults, reassignment of messages
    "llama3": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + (date_string or "26 Jul 2024") + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {{- raise_exception("This model only supports single tool-calls at once!") }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    # refusals
    "gemma": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}""",
    # macros, loop controls, ternaries, filters with arguments
    "mistral": """{%- macro turn(role, text) -%}
[{{ role | upper }}]{{ text | replace('\\n\\n', '\\n') }}[/{{ role | upper }}]
{%- endmacro -%}
{%- set loop_messages = messages[1:] if messages[0].role == 'system' else messages %}
{{- bos_token }}
{%- for m in loop_messages %}
    {%- if m.content | length == 0 %}{% continue %}{% endif %}
    {%- if m.role == 'user' %}
        {{- turn('inst', (messages[0].content ~ '\\n\\n' if loop.last and messages[0].role == 'system' else '') ~ m.content) }}
    {%- else %}
        {{- ' ' + m.content + eos_token }}
    {%- endif %}
{%- endfor %}
{{- messages | map(attribute='role') | join(',') }}
{{- messages | selectattr('role', 'equalto', 'user') | list | length }}
{{- (messages | last).content[:3] }}{{ '%s/%d' | format('a', 3) }}{{ {'a': [true, none, 'é<&>'], 'b': 1} | tojson }}
{{- [1, 2] | tojson(indent=2) }}
""",
    # blocks and whitespace without dashes
    "phi": """{% for message in messages %}
    {% if message['role'] == 'system' and message['content'] %}
{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}
    {% elif message['role'] == 'user' %}
{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}
    {% elif message['role'] == 'assistant' %}
{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}
    {% endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|assistant|>\\n' }}
{% else %}
{{ eos_token }}
{% endif %}
""",
    # everything in one line
    "smollm": """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}""",
}
TALKS = [
    [("user", "Hi")],
    [("system", " Be brief.\n"), ("user", "naïve café — 東京 🙂")],
    [("user", "a"), ("assistant", "b\n\nc"), ("user", " c  "), ("assistant", "<think>\nhm\n</think>\n\nd")],
    [("system", "S"), ("user", "x\n\ny"), ("assistant", ""), ("user", "<tool>z</tool>")],
    [("user", "a"), ("user", "b <&> \"quoted\"")],
]


def main():
    tok = AutoTokenizer.from_pretrained(HERE.parents[2] / "model" / "starter")
    rows = []
    for name, template in TEMPLATES.items():
        for talk in TALKS:
            messages = [{"role": role, "content": text} for role, text in talk]
            for prompt in (True, False):
                row = {"name": name, "template": template, "messages": messages, "add_generation_prompt": prompt}
                try:
                    row["text"] = tok.apply_chat_template(
                        messages, chat_template=template, tokenize=False, add_generation_prompt=prompt
                    )
                except Exception as error:  # the template's own refusal
                    row["error"] = str(error)
                rows.append(row)
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    (HERE / "template_families.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
