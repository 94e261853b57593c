//! Keep-alive HTTP beside something that gives an observer work of another kind: many sockets, or many series.

use std::time::Duration;

use anyhow::Result;

use super::http::Http;
use super::{Run, Workload};
use crate::held::Held;
use crate::series::Series;

/// The HTTP, and what there is beside it as long as this lives.
pub struct Beside<T> {
    title: &'static str,
    http: Http,
    configuration: &'static str,
    _there: T,
}

impl Beside<Held> {
    /// So many sockets are open, and a hundredth of them is used each second.
    pub fn sockets(title: &'static str, sockets: usize) -> Result<Self> {
        Ok(Self { title, http: Http::keep_alive()?, configuration: "", _there: Held::active(sockets)? })
    }
}

impl Beside<Series> {
    /// About 10,000 series change in each interval.
    pub fn series() -> Result<Self> {
        Ok(Self {
            title: "keep-alive HTTP beside 10,000 series that are exported each second",
            http: Http::keep_alive()?,
            configuration: Series::CONFIGURATION,
            _there: Series::start()?,
        })
    }
}

impl<T> Workload for Beside<T> {
    fn title(&self) -> &'static str {
        self.title
    }

    fn unit(&self) -> &'static str {
        self.http.unit()
    }

    fn configuration(&self) -> String {
        self.configuration.to_owned()
    }

    fn port(&self) -> Option<u16> {
        self.http.port()
    }

    fn run(&self, length: Duration) -> Result<Run> {
        self.http.run(length)
    }
}
