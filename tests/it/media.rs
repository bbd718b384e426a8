//! Files of messages over real sockets: from DingTalk's JSON to what the expert is given, for each kind
//! of file, of runtime and of trouble.

mod stand;
mod kinds;
mod limits;
mod refusals;
