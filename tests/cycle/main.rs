//! The loop closes: feedback, training, evaluation, promotion, and the next answer is better.

mod erases;
mod learns;
mod refuses;
mod stops;
