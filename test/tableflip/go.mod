module greetd.example/test/tableflip

go 1.26.0

require github.com/cloudflare/tableflip v1.2.3
