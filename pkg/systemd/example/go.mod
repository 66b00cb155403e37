module greetd.example/pkg/systemd/example

go 1.26.0

require (
	github.com/coreos/go-systemd/v22 v22.7.0
	greetd.example v0.0.0
)

require golang.org/x/sys v0.50.0 // indirect

replace greetd.example => ../../..
