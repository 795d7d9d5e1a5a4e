//! A model of a family that Hone's decoder does not know (a tiny StarCoder2, `make_starcoder2.py`), served by mistralrs through the real
//! binary. What it says is held against transformers and PEFT.

mod adapters;
mod answers;
mod refusals;
mod starcoder2;
