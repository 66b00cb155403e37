// Package logging is the log of greetd. It writes one entry for each visit, and one for each event of the
// daemon, to journald, to syslog, to stdout or to stderr.
//
// A caller never waits for the output. An entry goes into the bounded queue of a [journal.Writer], which
// writes it. If the queue is full, the entry is dropped and counted, and the count is logged when the output
// works again. Visits are logged up to a rate, and summaries count the others. So each visit is exactly once
// in an entry, in a summary, or in a count of dropped entries.
//
// Diagnostics are logrus entries, and the forms of the outputs are logrus formatters. Entries of visits use
// neither, since there can be many of them. No other package imports logrus.
package logging
