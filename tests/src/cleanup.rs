//! A stack of undo steps that runs in reverse when it goes out of scope, so also while a test panics.

/// Steps to undo what a test did to the host, last first.
#[derive(Default)]
pub struct CleanUp {
    steps: Vec<Box<dyn FnOnce() + Send + Sync>>,
}

impl CleanUp {
    /// Adds a step. Push it before or right after the act it undoes, not at the end of a set-up that may fail.
    pub fn push(&mut self, step: impl FnOnce() + Send + Sync + 'static) {
        self.steps.push(Box::new(step));
    }
}

impl Drop for CleanUp {
    fn drop(&mut self) {
        while let Some(step) = self.steps.pop() {
            step();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn steps_run_in_reverse_also_on_panic() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let seen = order.clone();
        let outcome = std::thread::spawn(move || {
            let mut cleanup = CleanUp::default();
            for step in 0..3 {
                let order = order.clone();
                cleanup.push(move || order.lock().unwrap().push(step));
            }
            panic!("on purpose");
        })
        .join();
        assert!(outcome.is_err());
        assert_eq!(*seen.lock().unwrap(), [2, 1, 0]);
    }
}
