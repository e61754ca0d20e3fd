//! This crate, with its defaults.

#[path = "../../../support/mod.rs"]
mod support;
#[path = "../../../support/web_session.rs"]
mod web_session_subject;

use std::sync::Arc;

use support::Failure;
use support::child::{Measured, serve};
use support::protocol::{Figures, Plan};
use support::subject::Subject;
use web_session::Driver;

struct WebSession {
    subject: Subject,
    driver: Arc<dyn Driver>,
}

impl Measured for WebSession {
    async fn open(url: &str, _variant: &str) -> Result<Self, Failure> {
        let driver = web_session_subject::driver(url).await?;
        let subject = Subject::new(web_session_subject::router(driver.clone()).await?);
        Ok(Self { subject, driver })
    }

    async fn run(&mut self, plan: &Plan) -> Result<Figures, Failure> {
        self.subject.run(plan).await
    }

    async fn clear(&mut self) -> Result<(), Failure> {
        web_session_subject::clear(&self.driver).await
    }
}

fn main() {
    serve::<WebSession>();
}
