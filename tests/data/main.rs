//! What lies on the disk: the audit trail, the database, backups, and what `hone doctor` says of them.

mod audit;
mod backup;
mod database;
mod doctor;
