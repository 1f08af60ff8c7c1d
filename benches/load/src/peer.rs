//! One connection: what it has to say, and what it has heard.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use crate::wire::{self, FrameReader, Heard, Magic};

/// Bytes that every connection sends over and over, and what comes back.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Whole frames, sent in one write where the socket takes them.
    pub(crate) batch: Vec<u8>,
    /// Messages in a batch that are counted.
    pub(crate) messages: u64,
    /// Pongs that say that a batch was dealt with.
    pub(crate) answers: u32,
    /// Batches that each connection has under way.
    pub(crate) depth: u32,
}

/// What all connections together have done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Connections that have shaken hands.
    pub(crate) ready: usize,
    /// Batches that were answered.
    pub(crate) batches: u64,
    /// Batches that were not.
    pub(crate) under_way: u64,
    /// Transactions that came.
    pub(crate) txs: u64,
    /// No batch follows one that was answered.
    pub(crate) stopping: bool,
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    pub(crate) reader: FrameReader,
    talk: Talk,
}

#[derive(Debug)]
struct Talk {
    magic: Magic,
    phase: Phase,
    /// Frames of the handshake, and pongs; they never come into the middle of a batch.
    control: Vec<u8>,
    /// Bytes of the batch that are sent; 0 between two batches.
    sent: usize,
    to_send: u32,
    answers: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Greeting {
        version: bool,
        verack: bool,
    },
    /// A ping is under way behind the handshake: its pong says that the other end is done with it.
    Barrier,
    Ready,
}

impl Peer {
    pub(crate) fn new(socket: TcpStream, magic: Magic, version: Vec<u8>) -> Self {
        Self {
            socket,
            reader: FrameReader::new(magic),
            talk: Talk {
                magic,
                phase: Phase::Greeting {
                    version: false,
                    verack: false,
                },
                control: version,
                sent: 0,
                to_send: 0,
                answers: 0,
            },
        }
    }

    /// Sends this much of the work, and one for each that is answered.
    pub(crate) fn begin(&mut self, work: &Work) {
        self.talk.to_send = work.depth;
        self.talk.answers = 0;
    }

    /// Sends these frames.
    pub(crate) fn say(&mut self, frames: &[u8]) {
        self.talk.control.extend_from_slice(frames);
    }

    /// Reads all that has come, and answers.
    pub(crate) fn react(
        &mut self,
        buffer: &mut [u8],
        work: &Work,
        tally: &mut Tally,
    ) -> Result<(), String> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err("the peer has hung up".into()),
                Ok(n) => {
                    let talk = &mut self.talk;
                    let heard = |heard| talk.hear(heard, work, tally);
                    self.reader.read(&buffer[..n], heard)?;
                    // Less than there is room for was all that there was; more will be an event.
                    if n < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("cannot read from the peer: {error}")),
            }
        }
        self.write(work)
    }

    /// Writes until the socket takes no more or nothing is left.
    pub(crate) fn write(&mut self, work: &Work) -> Result<(), String> {
        match self.talk.write(&mut self.socket, &work.batch) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                Err(format!("cannot write to the peer: {error}"))
            }
            _ => Ok(()),
        }
    }
}

impl Talk {
    fn hear(&mut self, heard: Heard, work: &Work, tally: &mut Tally) {
        match (heard, &mut self.phase) {
            (Heard::Pong, Phase::Ready) => {
                self.answers += 1;
                if self.answers == work.answers {
                    self.answers = 0;
                    tally.batches += 1;
                    if tally.stopping {
                        tally.under_way -= 1;
                    } else {
                        self.to_send += 1;
                    }
                }
            }
            (Heard::Tx, _) => tally.txs += 1,
            (Heard::Ping(nonce), _) => {
                let pong = wire::frame(self.magic, "pong", &nonce);
                self.control.extend_from_slice(&pong);
            }
            (Heard::Pong, Phase::Barrier) => {
                self.phase = Phase::Ready;
                tally.ready += 1;
            }
            (Heard::Version, Phase::Greeting { version, .. }) => {
                *version = true;
                let verack = wire::frame(self.magic, "verack", &[]);
                self.control.extend_from_slice(&verack);
                self.end_greeting();
            }
            (Heard::Verack, Phase::Greeting { verack, .. }) => {
                *verack = true;
                self.end_greeting();
            }
            _ => {}
        }
    }

    fn end_greeting(&mut self) {
        // Some send verack before version.
        if let Phase::Greeting {
            version: true,
            verack: true,
        } = self.phase
        {
            self.phase = Phase::Barrier;
            let ping = wire::frame(self.magic, "ping", &[0x55; 8]);
            self.control.extend_from_slice(&ping);
        }
    }

    fn write(&mut self, socket: &mut TcpStream, batch: &[u8]) -> io::Result<()> {
        loop {
            if self.sent > 0 || (self.control.is_empty() && self.to_send > 0) {
                self.sent += socket.write(&batch[self.sent..])?;
                if self.sent == batch.len() {
                    self.sent = 0;
                    self.to_send -= 1;
                }
            } else if !self.control.is_empty() {
                let n = socket.write(&self.control)?;
                self.control.drain(..n);
                if self.control.is_empty() {
                    self.control = Vec::new();
                }
            } else {
                return Ok(());
            }
        }
    }
}
