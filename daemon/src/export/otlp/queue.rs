//! Encoded requests that wait for a collector, in memory, bounded by bytes.
//!
//! The boundary is a lease: the oldest request is lent for an attempt, stays stored meanwhile, and is either
//! settled or released. `store`, which puts the disk before this queue, keeps that contract.

use std::collections::VecDeque;

use bytes::Bytes;

/// One encoded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The message, uncompressed.
    pub body: Bytes,
    /// Points or records in it.
    pub items: u64,
}

/// First in, first out; when full, the oldest goes.
#[derive(Debug)]
pub struct Queue {
    requests: VecDeque<Request>,
    bytes: usize,
    limit: usize,
    leased: bool,
}

impl Queue {
    /// A queue of at most `limit` bytes of bodies.
    pub fn new(limit: usize) -> Self {
        Self { requests: VecDeque::new(), bytes: 0, limit, leased: false }
    }

    /// Appends a request and returns the items that were lost to make room: the oldest ones, but never those
    /// on lease. A request that could never fit is itself what is lost.
    #[must_use = "what made room is lost and must be counted"]
    pub fn push(&mut self, request: Request) -> u64 {
        if request.body.len() > self.limit {
            return request.items;
        }
        self.bytes += request.body.len();
        self.requests.push_back(request);
        let oldest = usize::from(self.leased);
        let mut lost = 0;
        while self.bytes > self.limit {
            let Some(request) = self.requests.remove(oldest) else { break };
            self.bytes -= request.body.len();
            lost += request.items;
        }
        lost
    }

    /// Whether a request of up to `bytes` fits without a loss.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.bytes + bytes <= self.limit
    }

    /// Bytes that fit without a loss.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes)
    }

    /// Lends the oldest request. One at a time: `None` while one is out.
    pub fn lease(&mut self) -> Option<Request> {
        if self.leased {
            return None;
        }
        let request = self.requests.front()?.clone();
        self.leased = true;
        Some(request)
    }

    /// The request on lease is done with.
    pub fn settle(&mut self) {
        if std::mem::take(&mut self.leased)
            && let Some(request) = self.requests.pop_front()
        {
            self.bytes -= request.body.len();
        }
    }

    /// The request on lease is to be lent again.
    pub fn release(&mut self) {
        self.leased = false;
    }

    /// Bytes of the bodies held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is held, on lease or not.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(len: usize, items: u64) -> Request {
        Request { body: Bytes::from(vec![0; len]), items }
    }

    #[test]
    fn the_oldest_goes_first_when_full() {
        let mut queue = Queue::new(100);
        assert_eq!(queue.push(request(40, 1)), 0);
        assert_eq!(queue.push(request(40, 2)), 0);
        assert!(queue.has_room(20) && !queue.has_room(21));
        assert_eq!(queue.push(request(90, 4)), 3);
        assert_eq!(queue.bytes(), 90);
        assert_eq!(queue.lease().unwrap().items, 4);
    }

    #[test]
    fn a_request_on_lease_is_not_thrown_out_from_under_its_attempt() {
        let mut queue = Queue::new(100);
        assert_eq!(queue.push(request(40, 1)), 0);
        assert_eq!(queue.push(request(40, 2)), 0);
        assert_eq!(queue.lease().unwrap().items, 1);
        assert!(queue.lease().is_none());
        assert_eq!(queue.push(request(40, 4)), 2);
        assert_eq!(queue.push(request(80, 8)), 12);
        queue.settle();
        assert!(queue.is_empty());
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_released_request_is_lent_again() {
        let mut queue = Queue::new(100);
        assert_eq!(queue.push(request(1, 1)), 0);
        assert_eq!(queue.push(request(1, 2)), 0);
        assert_eq!(queue.lease(), Some(request(1, 1)));
        queue.release();
        assert_eq!(queue.lease(), Some(request(1, 1)));
        queue.settle();
        assert_eq!(queue.lease(), Some(request(1, 2)));
        queue.settle();
        queue.settle();
        assert!(queue.is_empty());
    }

    #[test]
    fn what_can_never_fit_is_lost_at_once() {
        let mut queue = Queue::new(10);
        assert_eq!(queue.push(request(3, 1)), 0);
        assert_eq!(queue.push(request(11, 5)), 5);
        assert_eq!(queue.bytes(), 3);
    }
}
