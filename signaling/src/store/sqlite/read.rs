//! Rows back into what they stand for. A row that does not read is corruption, named by its place.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OptionalExtension, Row as Cells, params_from_iter};

use super::super::StoreError;
use super::super::audit::{Chain, Entry};
use super::super::catalog::Kind;
use super::super::database::{Answer, Contents, Row, Search, TokenRow};

/// Sealed values with their fields, by kind and id.
type SealedByPlace = HashMap<(String, u32), Vec<(String, Vec<u8>)>>;

pub(super) fn contents(connection: &Connection) -> Result<Contents, StoreError> {
    let mut sealed = SealedByPlace::new();
    let mut query = connection.prepare("SELECT kind, id, field, sealed FROM secrets")?;
    let mut rows = query.query([])?;
    while let Some(cells) = rows.next()? {
        let place = (cells.get(0)?, cells.get(1)?);
        sealed.entry(place).or_default().push((cells.get(2)?, cells.get(3)?));
    }
    let mut query = connection.prepare(
        "SELECT kind, id, version, name, created, updated, deleted, document FROM objects
         ORDER BY kind, id",
    )?;
    let mut rows = query.query([])?;
    let mut objects = Vec::new();
    while let Some(cells) = rows.next()? {
        objects.push(object(cells, &mut sealed)?);
    }
    let mut query =
        connection.prepare("SELECT id, name, role, hash, created, expires FROM tokens")?;
    let mut rows = query.query([])?;
    let mut tokens = Vec::new();
    while let Some(cells) = rows.next()? {
        tokens.push(token(cells)?);
    }
    let mut query = connection.prepare("SELECT name, value FROM notes")?;
    let notes = query.query_map([], |cells| Ok((cells.get(0)?, cells.get(1)?)))?;
    let notes = notes.collect::<Result<_, _>>()?;
    let mut query = connection.prepare("SELECT trunk, wav, octets FROM greetings")?;
    let greetings =
        query.query_map([], |cells| Ok((cells.get(0)?, (cells.get(1)?, cells.get(2)?))))?;
    let greetings = greetings.collect::<Result<_, _>>()?;
    Ok(Contents { rows: objects, greetings, tokens, notes })
}

fn object(cells: &Cells<'_>, sealed: &mut SealedByPlace) -> Result<Row, StoreError> {
    let (kind, id): (String, u32) = (cells.get(0)?, cells.get(1)?);
    let what = format!("{kind} {id}");
    let known = Kind::parse(&kind);
    let known = known.ok_or_else(|| corrupt(&what, "its kind is unknown"))?;
    let deleted: Option<String> = cells.get(6)?;
    Ok(Row {
        kind: known,
        id,
        version: cells.get(2)?,
        name: cells.get(3)?,
        created: time(&what, &cells.get::<_, String>(4)?)?,
        updated: time(&what, &cells.get::<_, String>(5)?)?,
        deleted: deleted.map(|at| time(&what, &at)).transpose()?,
        document: cells.get(7)?,
        sealed: sealed.remove(&(kind, id)).unwrap_or_default(),
    })
}

fn token(cells: &Cells<'_>) -> Result<TokenRow, StoreError> {
    let id: u32 = cells.get(0)?;
    let what = format!("token {id}");
    let expires: Option<String> = cells.get(5)?;
    Ok(TokenRow {
        id,
        name: cells.get(1)?,
        role: cells.get(2)?,
        hash: cells.get(3)?,
        created: time(&what, &cells.get::<_, String>(4)?)?,
        expires: expires.map(|at| time(&what, &at)).transpose()?,
    })
}

/// The last number given out for each kind.
pub(super) fn sequence(connection: &Connection) -> Result<Vec<(String, u32)>, StoreError> {
    let mut query = connection.prepare("SELECT kind, last FROM sequence")?;
    let rows = query.query_map([], |cells| Ok((cells.get(0)?, cells.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn answer(
    connection: &Connection,
    token: u32,
    key: &str,
) -> Result<Option<Answer>, StoreError> {
    let sql = "SELECT fingerprint, body, at FROM answers WHERE token = ?1 AND key = ?2";
    let found = connection
        .query_row(sql, (token, key), |cells| {
            Ok((cells.get(0)?, cells.get(1)?, cells.get::<_, i64>(2)?))
        })
        .optional()?;
    let Some((fingerprint, body, at)) = found else { return Ok(None) };
    let at = Timestamp::from_millisecond(at)
        .map_err(|error| corrupt("a kept answer", &error.to_string()))?;
    Ok(Some(Answer { token, key: key.to_owned(), fingerprint, body, at }))
}

pub(super) fn report(connection: &Connection, trunk: u32) -> Result<Option<String>, StoreError> {
    let sql = "SELECT report FROM reports WHERE trunk = ?1";
    Ok(connection.query_row(sql, [trunk], |cells| cells.get(0)).optional()?)
}

pub(super) fn audit(connection: &Connection, search: &Search) -> Result<Vec<Entry>, StoreError> {
    let mut sql = format!("SELECT {AUDIT} FROM audit WHERE number < ?");
    let number = |n: u64| Cell::Integer(i64::try_from(n).unwrap_or(i64::MAX));
    let mut values = vec![number(search.before.unwrap_or(u64::MAX))];
    if let Some(kind) = &search.kind {
        sql.push_str(" AND kind = ?");
        values.push(Cell::Text(kind.clone()));
    }
    if let Some(id) = search.id {
        sql.push_str(" AND id = ?");
        values.push(Cell::Integer(i64::from(id)));
    }
    if let Some(actor) = &search.actor {
        sql.push_str(" AND actor = ?");
        values.push(Cell::Text(actor.clone()));
    }
    sql.push_str(" ORDER BY number DESC LIMIT ?");
    values.push(number(search.limit as u64));
    let mut query = connection.prepare(&sql)?;
    let mut rows = query.query(params_from_iter(values))?;
    let mut entries = Vec::new();
    while let Some(cells) = rows.next()? {
        entries.push(entry(cells)?);
    }
    Ok(entries)
}

pub(super) fn walk_audit(
    connection: &Connection,
    visit: &mut dyn FnMut(&Entry) -> bool,
) -> Result<(), StoreError> {
    let mut query = connection.prepare(&format!("SELECT {AUDIT} FROM audit ORDER BY number"))?;
    let mut rows = query.query([])?;
    while let Some(cells) = rows.next()? {
        if !visit(&entry(cells)?) {
            break;
        }
    }
    Ok(())
}

pub(super) fn head(connection: &Connection) -> Result<Chain, StoreError> {
    let sql = "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1";
    let found = connection
        .query_row(sql, [], |cells| Ok(Chain { number: cells.get(0)?, head: cells.get(1)? }))
        .optional()?;
    Ok(found.unwrap_or_default())
}

fn entry(cells: &Cells<'_>) -> Result<Entry, StoreError> {
    Ok(Entry {
        number: cells.get(0)?,
        at: cells.get(1)?,
        actor: cells.get(2)?,
        source: cells.get(3)?,
        action: cells.get(4)?,
        kind: cells.get(5)?,
        id: cells.get(6)?,
        name: cells.get(7)?,
        before: cells.get(8)?,
        after: cells.get(9)?,
        hash: cells.get(10)?,
        previous: cells.get(11)?,
    })
}

fn time(what: &str, text: &str) -> Result<Timestamp, StoreError> {
    text.parse().map_err(|_| corrupt(what, &format!("\"{text}\" is no time")))
}

fn corrupt(what: &str, cause: &str) -> StoreError {
    StoreError::Corrupt { what: what.to_owned(), cause: cause.to_owned() }
}

const AUDIT: &str =
    "number, at, actor, source, action, kind, id, name, before, after, hash, previous";
