// Package logging logs what greetd does: one entry for each visit, and one for each
// event of the daemon, to journald, to syslog, to stdout or to stderr.
//
// It never keeps a caller waiting. An entry goes into the bounded queue of a
// [journal.Writer], which writes it; an entry that finds the queue full is counted, and
// the count is logged when the output works again. Visits are logged up to a rate, and
// the rest is summed up. So entries, summaries and counted drops together account for
// each visit exactly.
//
// Diagnostics are logrus entries, and the forms of the outputs are logrus formatters.
// Visits, of which there may be many, use neither. It is the only importer of logrus
// below cmd.
package logging
