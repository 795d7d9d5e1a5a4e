//! Real clients: the openai SDK talks to the daemon, PEFT loads what it trained.

mod openai_python;
mod peft;
