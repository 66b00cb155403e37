package systemd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
)

// The next process finds stored sockets by FDNAME=, so this name contains the address:
//
//	greetd-own/ADDRESS            TCP
//	greetd-own/ADDRESS/DEV.INODE  unix, with the file that bind made
//	greetd-own/fd=NAME            any descriptor, by Notifier.Store
//
// The prefix distinguishes our own sockets from those of a socket unit. ADDRESS is escaped as in a URL
// query, so that it has no colon and no slash. If that would be too long, it is sha256=HEX; an escaped
// address never has a "=".
const (
	storePrefix   = "greetd-own/"
	filePrefix    = storePrefix + "fd="
	hashedPrefix  = "sha256="
	maxStoreName  = 255 // FDNAME_MAX of systemd
	maxFileSuffix = len("/18446744073709551615.18446744073709551615")
)

// storeName is the FDNAME= of a socket that was bound for address.
func storeName(address string, file fileID) string {
	name := storePrefix + storeKey(address)
	if file != (fileID{}) {
		name += fmt.Sprintf("/%d.%d", file.device, file.inode)
	}
	return name
}

func storeKey(address string) string {
	escaped := url.QueryEscape(address)
	if len(storePrefix)+len(escaped)+maxFileSuffix <= maxStoreName {
		return escaped
	}
	sum := sha256.Sum256([]byte(address))
	return hashedPrefix + hex.EncodeToString(sum[:])
}

// parseStoreName undoes storeName. For a hashed name, and for one that it cannot parse, it returns only
// the parts that it can read.
func parseStoreName(name string) (address string, file fileID) {
	key, suffix, _ := strings.Cut(strings.TrimPrefix(name, storePrefix), "/")
	_, _ = fmt.Sscanf(suffix, "%d.%d", &file.device, &file.inode)
	if strings.HasPrefix(key, hashedPrefix) {
		return "", file
	}
	address, err := url.QueryUnescape(key)
	if err != nil {
		return "", file
	}
	return address, file
}

// storedFor reports whether name was made by storeName for address.
func storedFor(name, address string) bool {
	key, _, _ := strings.Cut(strings.TrimPrefix(name, storePrefix), "/")
	return key == storeKey(address)
}
