//! Certificates for a demonstration or a test: one authority, and a certificate each for the gateway
//! and the PBX, all made on the spot by `rcgen` and written as PEM files.
//!
//! The keys are ECDSA P-256. The names are those addresses at which the two listen, so that the usual
//! verification of RFC 5280 and RFC 5922 passes without exceptions.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The files of one set, all in one directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificates {
    /// The authority that signed both: `ca.pem`.
    pub ca: PathBuf,
    /// The gateway's certificate: `gateway.pem`.
    pub gateway: PathBuf,
    /// Its private key, PKCS #8: `gateway.key`.
    pub gateway_key: PathBuf,
    /// The PBX's certificate: `pbx.pem`.
    pub pbx: PathBuf,
    /// Its private key, PKCS #8: `pbx.key`.
    pub pbx_key: PathBuf,
}

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    #[error("certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    #[error("{} cannot be written: {cause}", .path.display())]
    Write { path: PathBuf, cause: io::Error },
}

impl Certificates {
    /// The names that the files of a set have in `directory`; says nothing about their existence.
    pub fn in_directory(directory: &Path) -> Certificates {
        Certificates {
            ca: directory.join("ca.pem"),
            gateway: directory.join("gateway.pem"),
            gateway_key: directory.join("gateway.key"),
            pbx: directory.join("pbx.pem"),
            pbx_key: directory.join("pbx.key"),
        }
    }
}

/// Makes a set in `directory`, which is created when missing; an older set is overwritten. The
/// certificates bear the given addresses; private keys are readable by their owner only.
pub fn write(
    directory: &Path,
    gateway: &[IpAddr],
    pbx: &[IpAddr],
) -> Result<Certificates, CertError> {
    let files = Certificates::in_directory(directory);
    fs::create_dir_all(directory)
        .map_err(|cause| CertError::Write { path: directory.to_owned(), cause })?;

    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "Trunkline demo authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    put(&files.ca, ca.self_signed(&ca_key)?.pem().as_bytes(), PUBLIC)?;
    let issuer = Issuer::new(ca, ca_key);

    for (name, addresses, certificate, key) in [
        ("gateway", gateway, &files.gateway, &files.gateway_key),
        ("pbx", pbx, &files.pbx, &files.pbx_key),
    ] {
        let leaf_key = KeyPair::generate()?;
        let leaf = leaf(name, addresses)?.signed_by(&leaf_key, &issuer)?;
        put(certificate, leaf.pem().as_bytes(), PUBLIC)?;
        put(key, leaf_key.serialize_pem().as_bytes(), PRIVATE)?;
    }
    Ok(files)
}

fn leaf(name: &str, addresses: &[IpAddr]) -> Result<CertificateParams, rcgen::Error> {
    let host = format!("{name}.trunkline.test");
    let names: Vec<String> =
        addresses.iter().map(IpAddr::to_string).chain([host.clone()]).collect();
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, host);
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(leaf)
}

fn put(path: &Path, content: &[u8], mode: u32) -> Result<(), CertError> {
    let failed = |cause| CertError::Write { path: path.to_owned(), cause };
    // An existing file keeps its mode when opened: it must go first.
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(cause)),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(content)).map_err(failed)
}

const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;
