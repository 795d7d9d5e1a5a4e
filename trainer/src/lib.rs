//! A job directory in, a candidate adapter out: QLoRA on candle.
