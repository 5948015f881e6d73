module tusserver.bench/load

go 1.21
