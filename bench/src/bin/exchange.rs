//! A process as short as one with a connection can be: connects, sends so many bytes, reads so many, and ends. Without a parser of
//! arguments and without threads: what is measured with it is what its coming and going costs.
#![forbid(unsafe_code)]

use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [to, send, receive] = words.as_slice() else { anyhow::bail!("usage: exchange ADDRESS SEND RECEIVE") };
    let mut stream = TcpStream::connect(to.as_str()).with_context(|| format!("cannot connect to {to}"))?;
    stream.write_all(&vec![0x5a; send.parse()?])?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer.len() == receive.parse::<usize>()?, "{} bytes came, not {receive}", answer.len());
    Ok(())
}
