//! One short connection: a message there, another back, the end. The side that answers is a thread of this process.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

/// What is answered to each message.
pub const ANSWER: [u8; 200] = [0x5a; 200];
/// Who says nothing for so long is no client.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers messages of so many bytes, each on a connection of its own, as long as this process lives.
pub fn serve(message: usize) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // The client fails as well, and says why.
            let _ = answer(stream, message);
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream, message: usize) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_exact(&mut vec![0; message])?;
    stream.write_all(&ANSWER)
}

/// Sends a message on a connection of its own, and waits for the answer and the end.
pub fn send(message: &[u8], to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(to)?;
    stream.write_all(message)?;
    let mut all = Vec::with_capacity(ANSWER.len());
    stream.read_to_end(&mut all)?;
    ensure!(all == ANSWER, "{} bytes came for an answer", all.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_answered_with_another_and_the_end() {
        let server = serve(3).unwrap();
        send(b"one", server).unwrap();
        send(b"two", server).unwrap();
    }
}
