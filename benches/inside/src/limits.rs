//! What no library can be faster than.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use p2p_proto::Hash256;
use serde_json::{Value, json};

use crate::{Result, cpu_time};

/// How long each is repeated for a figure, and how many figures there are: the median counts.
const ROUND: Duration = Duration::from_millis(20);
const ROUNDS: usize = 15;
/// Connections that are made, one after the other.
const CONNECTS: u32 = 1000;

pub(crate) fn measure() -> Result<Value> {
    let hash = |length: usize| {
        let payload = vec![0x51; length];
        nanos(|| {
            black_box(Hash256::of(black_box(&payload)));
        })
    };
    Ok(json!({
        "hash_8_ns": hash(8),
        "hash_300_ns": hash(300),
        "hash_mib_bytes_per_second": f64::from(1 << 20) / hash(1 << 20) * 1e9,
        "tcp_round_trip_us": round_trip()?.as_secs_f64() * 1e6,
        "connects_per_second": f64::from(CONNECTS) / connects()?.as_secs_f64(),
    }))
}

/// The median CPU time of `act`, in nanoseconds.
fn nanos(mut act: impl FnMut()) -> f64 {
    let mut figures: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = cpu_time();
            let mut times = 0;
            while cpu_time() - begun < ROUND {
                for _ in 0..16 {
                    act();
                }
                times += 16;
            }
            (cpu_time() - begun).as_secs_f64() * 1e9 / f64::from(times)
        })
        .collect();
    figures.sort_by(f64::total_cmp);
    figures[ROUNDS / 2]
}

/// A byte there and back, between two threads.
fn round_trip() -> Result<Duration> {
    const TIMES: u32 = 5000;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let echo = thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
    });
    let begun = Instant::now();
    let mut byte = [0];
    for _ in 0..TIMES {
        near.write_all(&byte)?;
        near.read_exact(&mut byte)?;
    }
    let elapsed = begun.elapsed() / TIMES;
    drop(near);
    echo.join().map_err(|_| "the echo panicked")?;
    Ok(elapsed)
}

fn connects() -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let accepting = thread::spawn(move || {
        let accepted = listener.incoming().take(CONNECTS as usize);
        accepted.flatten().count()
    });
    let begun = Instant::now();
    for _ in 0..CONNECTS {
        TcpStream::connect(address)?;
    }
    let elapsed = begun.elapsed();
    accepting.join().map_err(|_| "the listener panicked")?;
    Ok(elapsed)
}
