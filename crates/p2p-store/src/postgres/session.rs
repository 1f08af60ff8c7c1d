//! One connection, ready for use: schema there, statements prepared.

use tokio_postgres::{Client, Statement};
use tracing::info;
use uuid::Uuid;

use super::failure::{failed, refused};
use super::options::PostgresOptions;
use crate::error::StoreError;

/// Each brings the schema from one version to the next.
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];
/// Named here, so that nobody else's lock is ours by chance.
const MIGRATION_LOCK: i64 = 0x6273_765f_7032_7001;

/// A connection that is ready for use.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) create: Statement,
    pub(super) holder: Statement,
    pub(super) read: Statement,
    pub(super) update: Statement,
    pub(super) forget: Statement,
    pub(super) all: Statement,
    pub(super) of_status: Statement,
    pub(super) at: Statement,
    pub(super) of_ip: Statement,
    pub(super) count: Statement,
    pub(super) apply: Statement,
    pub(super) these: Statement,
}

impl Session {
    /// Makes the schema if need be, and says who we are.
    pub(super) async fn new(
        mut client: Client,
        options: &PostgresOptions,
        origin: Uuid,
    ) -> Result<Self, StoreError> {
        migrate(&mut client, options).await?;
        set_up(&client, options, origin).await.map_err(failed)?;
        Self::prepare(client, &options.schema).await.map_err(failed)
    }

    async fn prepare(client: Client, schema: &str) -> Result<Self, tokio_postgres::Error> {
        let peers = format!("{schema}.peers");
        let select = format!("SELECT id, record::text FROM {peers}");
        let prepare = async |sql: String| client.prepare(&sql).await;
        Ok(Self {
            create: prepare(format!(
                "INSERT INTO {peers} (id, record) VALUES ($1, $2::text::jsonb)
                 ON CONFLICT DO NOTHING"
            ))
            .await?,
            holder: prepare(format!(
                "SELECT id FROM {peers} WHERE id = $1 OR (ip = $2 AND port = $3)
                 ORDER BY id <> $1 LIMIT 1"
            ))
            .await?,
            read: prepare(format!("{select} WHERE id = $1")).await?,
            update: prepare(format!(
                "UPDATE {peers} SET record = {schema}.merged(record, $2::text::jsonb, $3)
                 WHERE id = $1"
            ))
            .await?,
            forget: prepare(format!(
                "WITH these AS (SELECT id FROM {peers} WHERE id = ANY ($1) ORDER BY id FOR UPDATE)
                 DELETE FROM {peers} p USING these WHERE p.id = these.id"
            ))
            .await?,
            all: prepare(select.clone()).await?,
            of_status: prepare(format!("{select} WHERE status = $1")).await?,
            at: prepare(format!("{select} WHERE ip = $1 AND port = $2")).await?,
            of_ip: prepare(format!("{select} WHERE ip = $1")).await?,
            count: prepare(format!("SELECT count(*) FROM {peers} WHERE status = $1")).await?,
            apply: prepare(format!(
                "SELECT {schema}.apply($1::text::jsonb, $2, $3, $4)"
            ))
            .await?,
            these: prepare(format!("{select} WHERE id = ANY ($1)")).await?,
            client,
        })
    }
}

/// Brings the schema to our version. Several managers may start at a time: one does it, the others
/// wait and find it done.
async fn migrate(client: &mut Client, options: &PostgresOptions) -> Result<(), StoreError> {
    // Who may not make anything may use what is there.
    if version(client, &options.schema).await? == Some(MIGRATIONS.len()) {
        return Ok(());
    }
    let schema = &options.schema;
    let transaction = client.transaction().await.map_err(failed)?;
    let lock = "SELECT pg_advisory_xact_lock($1)";
    transaction
        .execute(lock, &[&MIGRATION_LOCK])
        .await
        .map_err(failed)?;
    let found = version(transaction.client(), schema).await?;
    let from = match found {
        Some(version) if version > MIGRATIONS.len() => {
            return Err(refused(format!(
                "schema {schema} is of version {version}, and this version of p2p-store knows {}: \
                 use a newer one, or another schema",
                MIGRATIONS.len()
            )));
        }
        Some(version) => version,
        None => {
            let sql = format!(
                "CREATE SCHEMA IF NOT EXISTS {schema};
                 CREATE TABLE {schema}.schema_version (version integer NOT NULL);
                 INSERT INTO {schema}.schema_version VALUES (0);"
            );
            transaction.batch_execute(&sql).await.map_err(failed)?;
            0
        }
    };
    for migration in &MIGRATIONS[from..] {
        let sql = migration
            .replace("{schema}", schema)
            .replace("{channel}", &options.channel());
        transaction.batch_execute(&sql).await.map_err(failed)?;
    }
    let sql = format!(
        "UPDATE {schema}.schema_version SET version = {}",
        MIGRATIONS.len()
    );
    transaction.batch_execute(&sql).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    if from < MIGRATIONS.len() {
        info!(schema, from, to = MIGRATIONS.len(), "peer store migrated");
    }
    Ok(())
}

/// The version of the schema; `None` if there is none.
async fn version(client: &Client, schema: &str) -> Result<Option<usize>, StoreError> {
    // Not `to_regclass`, which may remember that there was none.
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables
                WHERE schemaname = $1 AND tablename = 'schema_version')";
    let known = client.query_one(sql, &[&schema]).await;
    if !known.map_err(failed)?.get::<_, bool>(0) {
        return Ok(None);
    }
    let sql = format!("SELECT version FROM {schema}.schema_version");
    let row = client.query_opt(&sql, &[]).await.map_err(failed)?;
    let version = row.map_or(0, |row| row.get::<_, i32>(0));
    Ok(Some(usize::try_from(version).unwrap_or(usize::MAX)))
}

/// What holds for this connection, whatever the server's defaults are.
async fn set_up(
    client: &Client,
    options: &PostgresOptions,
    origin: Uuid,
) -> Result<(), tokio_postgres::Error> {
    let sql = format!(
        "SET default_transaction_isolation = 'read committed';
         -- Whoever holds a lock for long makes a call fail, not hang.
         SET lock_timeout = {};
         SET bsv_p2p.origin = '{origin}';
         -- A commit that was answered must be on disk. Stricter settings stay.
         SELECT set_config('synchronous_commit', 'on', false)
             WHERE current_setting('synchronous_commit') = 'off';
         LISTEN {};",
        options.timeout.as_millis().div_ceil(2).clamp(1, 1 << 30),
        options.channel(),
    );
    client.batch_execute(&sql).await
}
