from carcli.cli.main import main

main()
