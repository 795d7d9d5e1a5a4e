# `just` lists these; each is one plain command.

# Format, lint and test, as CI does.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace

# The whole loop, live, on the starter model.
demo:
    cargo run --release -- demo

# Tokens per second of serving and training.
bench:
    cargo run --release -- bench serve
    cargo run --release -- bench train

# Golden files from PyTorch, transformers and PEFT (needs them installed).
golden:
    python3 model/tests/golden/make.py
