//! Tokens of the API: 256 random bits that are shown once and kept as a hash.
//!
//! A plain SHA-256 is enough for what cannot be guessed; the token that the operator chooses
//! (`TRUNKLINE_ADMIN_TOKEN`) has to be long for the same reason.

use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::audit::{Actor, Draft, digits};
use super::database::{Answer, Batch, Change, TokenRow};
use super::keeper::Keeper;
use super::save::Once;
use super::{Catalog, Finding, Refusal, StoreError, TOKENS_MAX};
use crate::secret::Secret;

/// What a token may do. Each role may do what the ones before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Look.
    ReadOnly,
    /// Change trunks, groups and routes; test; end calls.
    Operator,
    /// Everything: tokens, audit log, backups, keys.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::ReadOnly, Self::Operator, Self::Admin];

    /// As the API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// A token without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its label, unique; the audit log names it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends; never when `None`.
    pub expires: Option<Timestamp>,
    hash: [u8; 32],
}

impl Token {
    /// The token as the API shows it.
    pub fn shown(&self) -> serde_json::Value {
        serde_json::json!({
            "id": self.id,
            "name": self.name,
            "role": self.role.name(),
            "created": self.created.to_string(),
            "expires": self.expires.map(|at| at.to_string()),
        })
    }

    /// From a row; `None` when its role is unknown.
    pub(super) fn read(row: TokenRow) -> Option<Self> {
        let TokenRow { id, name, role, hash, created, expires } = row;
        Some(Self { id, name, role: Role::parse(&role)?, created, expires, hash })
    }

    fn row(&self) -> TokenRow {
        TokenRow {
            id: self.id,
            name: self.name.clone(),
            role: self.role.name().to_owned(),
            hash: self.hash,
            created: self.created,
            expires: self.expires,
        }
    }
}

/// A new token with the secret that nobody will see again.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The token.
    pub token: Arc<Token>,
    /// What the client sends; absent when an idempotent request is repeated.
    pub secret: Option<Secret<String>>,
}

impl Catalog {
    /// The token that `secret` is, unless it has ended.
    pub fn token(&self, secret: &str, now: Timestamp) -> Option<&Arc<Token>> {
        let hash = hash(secret);
        let found = self.tokens.values().find(|token| token.hash == hash)?;
        found.expires.is_none_or(|at| now < at).then_some(found)
    }
}

impl Keeper {
    /// Makes a token.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for the name, [`Refusal::Conflict`] when it is taken or there are
    /// [`TOKENS_MAX`], and what the store says.
    pub fn mint(
        &mut self,
        actor: &Actor,
        name: &str,
        role: Role,
        expires: Option<Timestamp>,
        once: Option<&Once>,
    ) -> Result<Minted, Refusal> {
        if let Some(body) = self.answered(once)? {
            let id = body.get("id").and_then(serde_json::Value::as_u64).unwrap_or_default();
            let found = self.catalog().tokens.values().find(|token| u64::from(token.id) == id);
            let gone = || Refusal::NotFound { what: format!("token {id}") };
            return Ok(Minted { token: Arc::clone(found.ok_or_else(gone)?), secret: None });
        }
        check_name(name)?;
        let tokens = &self.catalog().tokens;
        if tokens.values().any(|token| token.name == name) {
            let cause = format!("there is a token \"{name}\"");
            return Err(Refusal::Conflict(cause, "revoke it first, or choose another name"));
        }
        if tokens.len() >= TOKENS_MAX {
            let cause = format!("there are {TOKENS_MAX} tokens");
            return Err(Refusal::Conflict(cause, "revoke those that nobody uses"));
        }
        let secret = draw()?;
        let id = self.database.allocate("token")?;
        let token = Token {
            id,
            name: name.to_owned(),
            role,
            created: self.now(),
            expires,
            hash: hash(secret.expose()),
        };
        let token = self.put_token(actor, token, once)?;
        Ok(Minted { token, secret: Some(secret) })
    }

    /// Ends a token.
    ///
    /// # Errors
    /// [`Refusal::NotFound`]; [`Refusal::Conflict`] for the last one of role admin.
    pub fn revoke(&mut self, actor: &Actor, id: u32) -> Result<(), Refusal> {
        let tokens = &self.catalog().tokens;
        let found = tokens.get(&id).map(Arc::clone);
        let token = found.ok_or_else(|| Refusal::NotFound { what: format!("token {id}") })?;
        let admins = tokens.values().filter(|token| token.role == Role::Admin).count();
        if token.role == Role::Admin && admins == 1 {
            let cause = String::from("this is the last token of role admin");
            return Err(Refusal::Conflict(cause, "make another one first"));
        }
        let mut next = (**self.catalog()).clone();
        next.tokens.remove(&id);
        let draft = self.token_draft(actor, "revoke", Some(&token), None);
        let batch = Batch { changes: vec![Change::Revoke(id)], drafts: vec![draft], answer: None };
        self.database.commit(batch)?;
        self.publish(next);
        Ok(())
    }

    /// Sees to it that there is a way in: the token that the operator chose, or a new one of role
    /// admin when there is no token at all. The new one is returned, to be shown once.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] when the chosen token could be guessed.
    pub fn admit(&mut self, chosen: Option<&Secret<String>>) -> Result<Option<Minted>, Refusal> {
        let gateway = Actor::gateway();
        let Some(chosen) = chosen else {
            let is_first = self.catalog().tokens.is_empty();
            return is_first
                .then(|| self.mint(&gateway, FIRST, Role::Admin, None, None))
                .transpose();
        };
        let visible = chosen.expose().bytes().all(|byte| byte.is_ascii_graphic());
        if chosen.expose().len() < CHOSEN_TOKEN_MIN || !visible {
            return Err(Refusal::Invalid(vec![Finding {
                field: String::from("TRUNKLINE_ADMIN_TOKEN"),
                value: serde_json::Value::Null,
                rule: format!("it has not {CHOSEN_TOKEN_MIN} visible ASCII characters"),
                remedy: String::from("use the output of: openssl rand -hex 32"),
            }]));
        }
        let hash = hash(chosen.expose());
        let tokens = &self.catalog().tokens;
        if tokens.values().any(|token| token.hash == hash) {
            return Ok(None);
        }
        let known = tokens.values().find(|token| token.name == CHOSEN).map(|token| token.id);
        let id = match known {
            Some(id) => id,
            None => self.database.allocate("token")?,
        };
        let created = self.now();
        let name = CHOSEN.to_owned();
        let token = Token { id, name, role: Role::Admin, created, expires: None, hash };
        self.put_token(&gateway, token, None)?;
        Ok(None)
    }

    fn put_token(
        &mut self,
        actor: &Actor,
        token: Token,
        once: Option<&Once>,
    ) -> Result<Arc<Token>, Refusal> {
        let token = Arc::new(token);
        let before = self.catalog().tokens.get(&token.id).map(Arc::clone);
        let draft = self.token_draft(actor, "mint", before.as_deref(), Some(&token));
        let answer = once.map(|once| Answer {
            token: once.token,
            key: once.key.clone(),
            fingerprint: once.fingerprint,
            body: token.shown().to_string(),
            at: self.now(),
        });
        let changes = vec![Change::PutToken(token.row())];
        self.database.commit(Batch { changes, drafts: vec![draft], answer })?;
        let mut next = (**self.catalog()).clone();
        next.tokens.insert(token.id, Arc::clone(&token));
        self.publish(next);
        Ok(token)
    }

    fn token_draft(
        &self,
        actor: &Actor,
        action: &str,
        before: Option<&Token>,
        after: Option<&Token>,
    ) -> Draft {
        let shown = |token: Option<&Token>| token.map(Token::shown).unwrap_or_default();
        let either = after.or(before);
        Draft {
            at: self.now(),
            actor: actor.clone(),
            action: action.to_owned(),
            kind: String::from("token"),
            id: either.map_or(0, |token| token.id),
            name: either.map(|token| token.name.clone()).unwrap_or_default(),
            before: shown(before),
            after: shown(after),
        }
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let length = name.chars().count();
    if (1..=64).contains(&length) && !name.chars().any(char::is_control) && name.trim() == name {
        return Ok(());
    }
    Err(Refusal::Invalid(vec![Finding {
        field: String::from("name"),
        value: serde_json::Value::String(name.to_owned()),
        rule: String::from("it is no name"),
        remedy: String::from("give it 1 to 64 characters, no blank at either end"),
    }]))
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// `trunkline_` and 64 hexadecimal digits: recognisable for scanners of leaked secrets.
fn draw() -> Result<Secret<String>, StoreError> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| StoreError::Database(error.to_string()))?;
    Ok(Secret::new(format!("trunkline_{}", digits(&random))))
}

/// Name of the token that the first start makes.
pub const FIRST: &str = "first admin";
/// Name of the token that the environment gives.
pub const CHOSEN: &str = "TRUNKLINE_ADMIN_TOKEN";
/// Characters of a token that the operator chooses.
pub const CHOSEN_TOKEN_MIN: usize = 24;
