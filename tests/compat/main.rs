//! Real clients and real models: the openai SDKs and the frameworks of agents talk to the daemon, PEFT loads what it trained, a GGUF file that people have
//! computes what transformers makes of it.

mod frameworks;
mod gguf;
mod likelihoods;
mod node;
mod openai_python;
mod peft;
