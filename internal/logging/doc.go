// Package logging tells what greetd does: one entry for each visit, and one for
// each event of the daemon, to journald, to syslog, to stdout or to stderr.
//
// It never keeps a caller waiting. An entry goes into a bounded queue, and one
// worker writes it; what finds the queue full is counted, and the count is logged
// when the output takes entries again. Visits are logged up to a rate, and what
// exceeds it is summed up. So entries, summaries and counted drops together account
// for each visit exactly.
//
// It is the only importer of logrus below cmd.
package logging
