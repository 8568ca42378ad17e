from carcli.bench.speed.kernels import main

main()
