module job

go 1.26
