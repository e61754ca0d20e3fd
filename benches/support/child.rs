//! A program that does runs for another: orders on its standard input, answers on its standard
//! output, each a line of JSON; see [`Order`].

use std::io::{BufRead, Write, stdin, stdout};

use super::protocol::{Answer, Figures, Order, Plan};
use super::{Failure, runtime};

/// What such a program measures.
pub trait Measured: Sized {
    /// Makes an empty storage. Something may be left there from a run that was interrupted.
    async fn open(url: &str, variant: &str) -> Result<Self, Failure>;

    async fn run(&mut self, plan: &Plan) -> Result<Figures, Failure>;

    /// Removes everything from the storage.
    async fn clear(&mut self) -> Result<(), Failure>;
}

/// Does what it is told until the input ends.
pub fn serve<M: Measured>() {
    let runtime = runtime();
    let mut measured = None;
    for line in stdin().lock().lines() {
        let line = line.expect("orders are lines of text");
        let order = serde_json::from_str(&line).expect("orders are JSON");
        let answer = runtime.block_on(obey::<M>(&mut measured, order));
        let answer = answer.unwrap_or_else(|failure| Answer::Failed(chain(&*failure)));
        let answer = serde_json::to_string(&answer).expect("answers can be written as JSON");
        // Whoever gave the orders is gone if nobody reads the answer.
        if writeln!(stdout(), "{answer}").is_err() {
            return;
        }
    }
}

async fn obey<M: Measured>(measured: &mut Option<M>, order: Order) -> Result<Answer, Failure> {
    if let Order::Open { url, variant } = &order {
        // The connections of the one before are given up first.
        *measured = None;
        *measured = Some(M::open(url, variant).await?);
        return Ok(Answer::Done);
    }
    let measured = measured.as_mut().ok_or("the first order is `Open`")?;
    match order {
        Order::Run(plan) => Ok(Answer::Figures(measured.run(&plan).await?)),
        _ => measured.clear().await.map(|()| Answer::Done),
    }
}

/// An error with what caused it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
