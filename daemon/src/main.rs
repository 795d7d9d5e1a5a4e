//! `hone`: a fine-tune-then-serve daemon with an OpenAI-compatible API.

fn main() {}
