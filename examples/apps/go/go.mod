module books

go 1.26
