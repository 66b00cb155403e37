package systemd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
)

// Stored sockets are found again by FDNAME=, so the address is in it:
//
//	greetd-own/ADDRESS            TCP
//	greetd-own/ADDRESS/DEV.INODE  unix, with the file that bind made
//	greetd-own/fd=NAME            any descriptor, by Notifier.Store
//
// The prefix is this module's; it marks our own sockets, unlike those of a socket unit.
// ADDRESS is escaped as in a query, which leaves no colon and no slash, or is
// sha256=HEX where that would be too long; "=" is never in an escaped one.
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

// parseStoreName undoes storeName. Of a name that it doesn't understand, and of a
// hashed one, nothing comes back but what can be read.
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
