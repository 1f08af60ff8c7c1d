//! Framing alone: `MessageCodec` in a `tokio_util::codec::Framed`, and a handshake made by hand,
//! for those who bring everything else themselves. There is no policy here, no ping of its own,
//! and no limit to what a peer may do wrong: `p2p_proto::Connection` has those.
//!
//! ```text
//! cargo run --release --example codec_only                            # a peer of its own
//! cargo run --release --example codec_only -- --network regtest --connect 127.0.0.1:18444
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use examples::options::Options;
use examples::peers::Peers;
use examples::report::{PeerReporter, Reporter};
use examples::{End, Result, all_headers, end_of_run};
use futures_util::{SinkExt, StreamExt};
use p2p_proto::{
    NetworkAddress, Nonce, PROTOCOL_VERSION, Services, UserAgent, Version, VersionFields,
};
use p2p_tokio::{ManagerConfig, Message, MessageCodec};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

/// Talks to one peer by frames alone: version, verack, ping, headers.
///
/// Without --network and --connect it starts a regtest peer on loopback and talks to that; of
/// several given by --connect it talks to the first.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Arguments::parse().options;
    examples::finish(run(&options).await)
}

async fn run(options: &Options) -> Result<()> {
    let plan = options.plan()?;
    let reporter = Reporter::new(options);
    let peers = Peers::of(&plan, &reporter).await?;
    let Some(&[address, ..]) = peers.fixed().as_deref() else {
        return Err("one peer is enough here: add --connect ADDR".into());
    };
    let peer = PeerReporter::new(reporter, plan.config.network, address);
    let outcome = tokio::select! {
        outcome = talk(address, &plan.config, peer) => outcome,
        end = end_of_run(plan.duration)? => match end {
            End::Duration => Err(format!("{address} has not answered everything in time").into()),
            End::Interrupt => Ok(reporter.note("shutting down")?),
        },
    };
    peers.stop().await;
    outcome
}

/// Shakes hands, and listens until a ping and a question for headers are answered.
async fn talk(address: SocketAddr, config: &ManagerConfig, peer: PeerReporter) -> Result<()> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| format!("{address}: {error}"))?;
    let mut frames = Framed::new(stream, MessageCodec::new(config.network));
    frames.send(version(address, config)).await?;

    let nonce = Nonce(rand::random());
    let (mut has_pong, mut has_headers) = (false, false);
    while !has_pong || !has_headers {
        let message = match frames.next().await {
            Some(Ok(Ok(message))) => message,
            // One bad frame is no reason to leave.
            Some(Ok(Err(discarded))) => {
                tracing::warn!(%address, why = %discarded.why, "frame dropped");
                continue;
            }
            Some(Err(error)) => return Err(error.into()),
            None => return Err(format!("{address} has hung up").into()),
        };
        peer.message(&message)?;
        match message {
            Message::Version(_) => frames.send(Message::Verack).await?,
            Message::Verack => {
                frames.send(Message::Ping(nonce)).await?;
                frames.send(all_headers()).await?;
            }
            Message::Ping(nonce) => frames.send(Message::Pong(nonce)).await?,
            Message::Pong(answer) => has_pong |= answer == nonce,
            Message::Headers(_) => has_headers = true,
            _ => {}
        }
    }
    Ok(())
}

/// Who we are. The peer answers with its own, and a verack.
fn version(address: SocketAddr, config: &ManagerConfig) -> Message {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let timestamp = now.unwrap_or_default().as_secs() as i64;
    let receiver = NetworkAddress::new(Services::NONE, address);
    Message::Version(Box::new(Version {
        nonce: rand::random(),
        user_agent: UserAgent::new(config.user_agent.clone()).unwrap_or_default(),
        start_height: config.start_height,
        fields: VersionFields::AssociationId,
        ..Version::minimal(PROTOCOL_VERSION, timestamp, receiver)
    }))
}
