//! The store in PostgreSQL over TLS.

#![allow(clippy::unwrap_used, reason = "a test stops when it cannot go on")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use p2p_store::tokio_postgres::NoTls;
use p2p_store::{PeerStore, PostgresPeerStore, StoreError, conformance};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use support::server::Server;
use support::stores::options;
use support::{banned, peer};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Trusts this root only.
fn trusting(root: &Path) -> MakeRustlsConnect {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(root).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

async fn connect(config: &str, root: &Path) -> Result<PostgresPeerStore, StoreError> {
    let config = format!("{config} sslmode=require").parse().unwrap();
    PostgresPeerStore::connect_with(config, trusting(root), options()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms() {
    let (server, root) = Server::secured();
    let config = server.config();
    conformance::suite(async || connect(&config, &root).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_lost_is_made_again_with_tls() {
    let (server, root) = Server::secured();
    let store = connect(&server.config(), &root).await.unwrap();
    store.create(&banned(1)).await.unwrap();
    server.crash();
    server.up();
    // The call under way when the loss is noticed may fail; that says so itself.
    let answer = async {
        loop {
            match store.find_by_ip(peer(1).ip_address).await {
                Err(error) if error.is_retryable() => {}
                answered => break answered.unwrap(),
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), answer).await;
    let found = found.expect("an answer over a connection that was made again");
    assert_eq!(found, [banned(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_trusted_is_refused() {
    let (server, root) = Server::secured();
    let (_other, wrong) = Server::secured();
    let refused = connect(&server.config(), &wrong).await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    // It is for an IP, and not for this name.
    let named = server.config().replace("host=", "host=localhost hostaddr=");
    let refused = connect(&named, &root).await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
}

/// So what the other tests have sent was encrypted.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_takes_nothing_without_tls() {
    let (server, _) = Server::secured();
    let config = server.config().parse().unwrap();
    let refused = PostgresPeerStore::connect_with(config, NoTls, options()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("no encryption"), "{refused}");
}
